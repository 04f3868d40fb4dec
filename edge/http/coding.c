/* Of equal weights the site's order decides. Identity is acceptable unless it is excluded, but wanted only where it has
 * a greater weight of its own (`identity, gzip;q=0.5`): everybody accepts it, that says nothing. */
#include "edge/http/coding.h"

#include "edge/base/text.h"
#include "edge/http/weighted.h"

static const span_t coding_names[CODINGS] = {SPAN("identity"), SPAN("zstd"), SPAN("br"), SPAN("gzip")};

span_t coding_name(coding_t c)
{
    return coding_names[c];
}

enum { CODING_UNSAID = -1 };

typedef struct coding_weights {
    int of[CODINGS], any; /* thousandths, or CODING_UNSAID */
} coding_weights_t;

/* Of a coding that is named twice the greater weight counts: either would do. */
static void coding_weigh(coding_weights_t *w, span_t name, int weight)
{
    if (span_eq(name, SPAN("*"))) {
        w->any = weight > w->any ? weight : w->any;
        return;
    }
    if (span_caseeq(name, SPAN("x-gzip"))) /* RFC 9110 8.4.1.3 */
        name = SPAN("gzip");
    for (size_t c = 0; c < CODINGS; c++)
        if (span_caseeq(name, coding_names[c]) && weight > w->of[c])
            w->of[c] = weight;
}

coding_t coding_choose(const fields_t *request, const coding_t *offered, size_t n)
{
    coding_weights_t w = {{CODING_UNSAID, CODING_UNSAID, CODING_UNSAID, CODING_UNSAID}, CODING_UNSAID};
    span_t line, member, name;
    unsigned weight;
    for (size_t at = 0; fields_next(request, SPAN("accept-encoding"), &at, &line);)
        while (weighted_next(&line, &member))
            if (weighted_read(member, &name, &weight))
                coding_weigh(&w, name, (int)weight);
    coding_t best = CODING_IDENTITY;
    int most = 0;
    for (size_t i = 0; i < n; i++) {
        int v = w.of[offered[i]] != CODING_UNSAID ? w.of[offered[i]] : w.any;
        if (v > most) {
            most = v;
            best = offered[i];
        }
    }
    return w.of[CODING_IDENTITY] > most ? CODING_IDENTITY : best;
}

/* ---- entity tags ---- */

/* Cuts one entity tag (RFC 9110 8.8.3) off a list; anything else is cut off whole, up to its comma. */
static bool coding_next_tag(span_t *rest, span_t *tag)
{
    while (rest->n > 0 && (rest->p[0] == ',' || rest->p[0] == ' ' || rest->p[0] == '\t'))
        *rest = span_from(*rest, 1);
    if (rest->n == 0)
        return false;
    size_t at = span_starts(*rest, SPAN("W/")) ? 2 : 0;
    if (at < rest->n && rest->p[at] == '"')
        at += 1 + span_find(span_from(*rest, at + 1), '"');
    at = at < rest->n ? at : rest->n;
    size_t n = at + span_find(span_from(*rest, at), ',');
    *tag = span_trim(span_upto(*rest, n));
    *rest = span_from(*rest, n);
    return true;
}

static bool coding_strong(span_t etag)
{
    return etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"';
}

span_t coding_tag(span_t etag, coding_t c, arena_t *arena)
{
    if (c == CODING_IDENTITY || !coding_strong(etag))
        return etag;
    return arena_printf(arena, "W/%.*s-%.*s\"", SPAN_ARG(span_upto(etag, etag.n - 1)), SPAN_ARG(coding_names[c]));
}

bool coding_untag(span_t tag, arena_t *arena, span_t *bare)
{
    if (!span_starts(tag, SPAN("W/\"")) || tag.p[tag.n - 1] != '"')
        return false;
    span_t opaque = span_upto(span_from(tag, 2), tag.n - 3); /* with its first quote alone */
    for (size_t c = 1; c < CODINGS; c++) {
        span_t name = coding_names[c];
        size_t n = name.n + 1;
        if (opaque.n <= n || opaque.p[opaque.n - n] != '-' || !span_ends(opaque, name))
            continue;
        *bare = arena_printf(arena, "%.*s\"", SPAN_ARG(span_upto(opaque, opaque.n - n)));
        return bare->p != NULL;
    }
    return false;
}

/* A tag without its coding and "W/" is shorter by more than the ", " before it, so twice the room is enough. */
static span_t coding_untag_list(span_t list, arena_t *arena)
{
    span_t rest = list, tag, bare;
    text_t out = {0};
    while (coding_next_tag(&rest, &tag)) {
        if (!coding_untag(tag, arena, &bare))
            continue;
        if (out.n == 0) {
            out = text_in(arena, 2 * list.n);
            text_add(&out, list);
        }
        text_add(&out, SPAN(", "));
        text_add(&out, bare);
    }
    return out.n > 0 && text_fits(&out) ? text_span(&out) : list;
}

bool coding_untag_fields(const fields_t *request, arena_t *arena, fields_t *out)
{
    bool changed = false;
    for (size_t i = 0; i < request->n; i++) {
        span_t name = request->v[i].name, value = request->v[i].value;
        if (!span_eq(name, SPAN("if-none-match")) && !span_eq(name, SPAN("if-match")))
            continue;
        span_t more = coding_untag_list(value, arena);
        if (more.n == value.n)
            continue;
        if (!changed) {
            fields_init(out, arena);
            for (size_t k = 0; k < request->n; k++)
                if (fields_add(out, request->v[k].name, request->v[k].value) != ERR_OK)
                    return false;
        }
        changed = true;
        out->v[i].value = more;
    }
    return changed;
}

span_t coding_tag_held(const fields_t *request, span_t etag, span_t otherwise, arena_t *arena)
{
    span_t line, tag, bare, held = SPAN_NONE;
    for (size_t at = 0; fields_next(request, SPAN("if-none-match"), &at, &line);)
        while (coding_next_tag(&line, &tag)) {
            if (span_eq(tag, otherwise))
                return otherwise;
            if (held.p == NULL && (span_eq(tag, etag) || (coding_untag(tag, arena, &bare) && span_eq(bare, etag))))
                held = tag;
        }
    return held.p != NULL ? held : otherwise;
}
