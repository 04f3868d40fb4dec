/* Validation: what is asked, whether the 304 speaks of what we hold, and what the response looks like afterwards.
 *
 * The merge takes what the 304 says over what is stored (RFC 9111 3.2), but leaves alone what describes the stored
 * bytes: those did not come with the 304. Date and Age of the stored response go in any case: they belong to the moment
 * of its first arrival, and with them a response that was just confirmed would look as old as before. */
#include "edge/policy/revalidate.h"

#include "edge/http/date.h"
#include "edge/policy/policy_priv.h"

static span_t stored_etag(const fieldblock_t *stored, bool *strong)
{
    span_t value = fieldblock_get(stored, SPAN("etag"));
    return value.p != NULL ? directives_etag(value, strong) : SPAN_NONE;
}

static bool is_date(span_t value, msec_t *when)
{
    return value.p != NULL && date_parse(value, 0, when) == ERR_OK;
}

bool revalidate_add_validators(const fieldblock_t *stored, fields_t *upstream_request, arena_t *a)
{
    bool strong, added = false;
    msec_t when;
    span_t modified = fieldblock_get(stored, SPAN("last-modified"));
    if (stored_etag(stored, &strong).p != NULL) {
        span_t value = arena_copy(a, fieldblock_get(stored, SPAN("etag")));
        added |= value.p != NULL && fields_add(upstream_request, SPAN("if-none-match"), value) == ERR_OK;
    }
    if (is_date(modified, &when)) {
        span_t value = arena_copy(a, modified);
        added |= value.p != NULL && fields_add(upstream_request, SPAN("if-modified-since"), value) == ERR_OK;
    }
    return added;
}

span_t revalidate_strong(const fieldblock_t *stored)
{
    bool strong = false;
    msec_t modified, date;
    if (stored_etag(stored, &strong).p != NULL && strong)
        return fieldblock_get(stored, SPAN("etag"));
    span_t value = fieldblock_get(stored, SPAN("last-modified"));
    if (fieldblock_get(stored, SPAN("etag")).p != NULL || !is_date(value, &modified) ||
        !is_date(fieldblock_get(stored, SPAN("date")), &date) || date - modified < MSEC_PER_SEC)
        return SPAN_NONE;
    return value;
}

bool revalidate_same_bytes(const fieldblock_t *stored, const fields_t *response)
{
    span_t mine = revalidate_strong(stored);
    if (mine.p == NULL)
        return false;
    bool by_date = mine.p[0] != '"';
    span_t name = by_date ? SPAN("last-modified") : SPAN("etag");
    return fields_count(response, name) == 1 && span_eq(fields_get(response, name), mine) &&
           (!by_date || !fields_has(response, SPAN("etag")));
}

void revalidate_strip_conditions(fields_t *upstream_request)
{
    static const char *const names[] = {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
                                        "if-range", "range"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fields_remove(upstream_request, span_str(names[i]));
}

bool revalidate_selects(const fieldblock_t *stored, const fields_t *not_modified)
{
    bool new_strong, old_strong = false;
    span_t new_etag = SPAN_NONE, old_etag = stored_etag(stored, &old_strong);
    if (fields_has(not_modified, SPAN("etag"))) {
        new_etag = directives_etag(fields_get(not_modified, SPAN("etag")), &new_strong);
        if (new_etag.p == NULL)
            return false; /* a validator that nobody can compare */
        /* A strong validator selects only its equal; a weak one what corresponds to it. */
        if (old_etag.p != NULL)
            return span_eq(new_etag, old_etag) && (!new_strong || old_strong);
    }
    msec_t new_modified, old_modified;
    if (is_date(fields_get(not_modified, SPAN("last-modified")), &new_modified)) {
        /* Beside an entity tag it is the lesser word: a server may leave it out of one answer and put it into another.
         */
        if (is_date(fieldblock_get(stored, SPAN("last-modified")), &old_modified))
            return new_modified == old_modified;
        return false;
    }
    /* No validator at all: the 304 answers our own conditions, which named this response and no other. */
    return new_etag.p == NULL;
}

/* Fields of the stored response that a 304 doesn't touch: they describe the stored bytes (RFC 9111 3.2), or the message
 * that the 304 itself is. */
static bool of_the_body(span_t name)
{
    static const char *const names[] = {"content-length", "content-encoding", "content-type",     "content-range",
                                        "content-digest", "repr-digest",      "transfer-encoding"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, span_str(names[i])))
            return true;
    return false;
}

/* An ETag that selects the stored response and is written otherwise is its weak form. */
static bool keeps_etag(const fieldblock_t *stored, span_t value)
{
    return fieldblock_get(stored, SPAN("etag")).p != NULL && !span_eq(fieldblock_get(stored, SPAN("etag")), value);
}

err_t revalidate_merge(const fieldblock_t *stored, const fields_t *not_modified, arena_t *a, fields_t *out)
{
    fields_t fresh, news;
    field_t f;
    fields_init(&fresh, a);
    fields_init(&news, a);
    for (size_t i = 0; i < not_modified->n; i++) {
        err_t e = fields_add(&news, not_modified->v[i].name, not_modified->v[i].value);
        if (e != ERR_OK)
            return e;
    }
    fields_remove_hop_by_hop(&news);
    /* A cookie for whoever made the validation is not for everybody: it replaces one that was shareable, but never
     * joins a response that had none. */
    if (fieldblock_get(stored, SPAN("set-cookie")).p == NULL)
        fields_remove(&news, SPAN("set-cookie"));
    if (keeps_etag(stored, fields_get(&news, SPAN("etag"))))
        fields_remove(&news, SPAN("etag"));
    size_t kept = 0;
    for (size_t i = 0; i < news.n; i++)
        if (!of_the_body(news.v[i].name))
            news.v[kept++] = news.v[i];
    news.n = kept;

    for (size_t pos = 0; fieldblock_next(stored, &pos, &f);) {
        if (span_eq(f.name, SPAN("date")) || span_eq(f.name, SPAN("age")) || fields_has(&news, f.name))
            continue;
        err_t e = fields_add(&fresh, f.name, f.value);
        if (e != ERR_OK)
            return e;
    }
    for (size_t i = 0; i < news.n; i++) {
        err_t e = fields_add(&fresh, news.v[i].name, news.v[i].value);
        if (e != ERR_OK)
            return e;
    }
    *out = fresh;
    return ERR_OK;
}
