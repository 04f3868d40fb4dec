/* Pieces that are missing on disk are fetched by aligned slices (`disk.slice`), one fetch for all who wait for any
 * piece of one, on whatever loop: like a response that isn't stored yet (collapse.c), but for a part of one that is. */
#include "edge/policy/revalidate.h"
#include "edge/request/request_priv.h"
#include "edge/store/piece.h"

typedef struct slice {
    request_t *rq;
    const object_t *head;
    uint64_t number; /* that is wanted */
    range_t bytes;
    span_t range; /* the same as Range says it */
} slice_t;

/* May this request wait for that fetch? */
static bool slices_joinable(fetch_t *f, void *arg)
{
    const slice_t *s = arg;
    const object_t *of = fetch_pieces_of(f);
    request_t *rq = s->rq;
    if (of == NULL || !span_eq(fetch_key(f)->text, rq->key.text) || !fetch_brings(f, s->number) ||
        piece_edition_of(of) != piece_edition_of(s->head) || fetch_pieces_over(f))
        return false;
    if (pieces_as_good(s->head, fetch_began(f)))
        return true;
    return !fetch_covered(f, rq->env->ledger) && (fetch_past_shields(f) || !purge_in_doubt(rq->env->purge)) &&
           !lookup_too_old(rq, fetch_started(f));
}

/* The slice that holds that byte, of a whole of `length`. */
static range_t slices_at(const request_t *rq, uint64_t place, uint64_t length)
{
    uint64_t pieces = (rq->conf->disk.slice + PIECE_BYTES - 1) / PIECE_BYTES;
    pieces = pieces > FETCH_SLICE_PIECES ? FETCH_SLICE_PIECES : pieces < 1 ? 1 : pieces;
    uint64_t bytes = pieces * PIECE_BYTES, first = place / bytes * bytes;
    return (range_t){first, (length - first > bytes ? first + bytes : length) - 1};
}

range_t slices_widened(const request_t *rq)
{
    range_t ranges[RANGE_MAX];
    size_t n;
    span_t asked = fields_get(&rq->x->fields, SPAN("range"));
    bool suffix = range_parse(asked, INT64_MAX / 2, ranges, &n) != RANGE_PARTIAL || ranges[0].first > INT64_MAX / 4;
    const range_t none = {0};
    return suffix ? none : slices_at(rq, ranges[0].first, INT64_MAX);
}

/* What goes up with each of its slices, made once. */
static const fields_t *slices_forward(request_t *rq)
{
    if (rq->slices_forward == NULL) {
        fields_t *f = arena_zalloc(rq->x->arena, sizeof *f);
        if (f == NULL || forward_fields(rq, true, f) != ERR_OK)
            return NULL;
        rq->slices_forward = f;
    }
    return rq->slices_forward;
}

static fetch_t *slices_new(request_t *rq, object_t *head, const slice_t *s, span_t validator, arena_t *a)
{
    const fields_t *all = slices_forward(rq);
    fields_t forward;
    fields_init(&forward, a);
    for (size_t i = 0; all != NULL && i < all->n; i++)
        fields_add(&forward, all->v[i].name, all->v[i].value);
    if (all == NULL || fields_add(&forward, SPAN("range"), s->range) != ERR_OK ||
        fields_add(&forward, SPAN("if-range"), validator) != ERR_OK)
        return NULL;
    fetch_spec_t spec = {
        .upstreams = rq->upstreams,
        .upstream_labels = rq->upstream_labels,
        .site = rq->site,
        .rules = rq->rules,
        .key = &rq->key,
        .method = METHOD_GET,
        .method_name = SPAN("GET"),
        .request = &rq->x->fields,
        .forward = &forward,
        .target = rq->key.query.p != NULL
                      ? arena_printf(a, "%.*s?%.*s", SPAN_ARG(rq->key.path), SPAN_ARG(rq->key.query))
                      : rq->key.path,
        .share = true,
        .hops = rq->from_tier ? rq->tier.hops : SPAN_NONE,
        .deadline = accept_deadline(rq),
        .past_shields = purge_in_doubt(rq->env->purge),
        .pieces = head,
        .range = s->range,
        .slice = s->bytes,
        .began = ledger_head(rq->env->ledger),
        .on_settled = collapse_settled,
        .arg = rq->env->collapse,
    };
    return fetch_new(&rq->env->fetch, &spec);
}

object_t *slices_held(request_t *rq, object_t *head, uint64_t number)
{
    slice_t s = {.rq = rq, .head = head, .number = number};
    fetch_t *f = collapse_running(rq->env->collapse, rq->key.digest, slices_joinable, &s, NULL);
    object_t *o = f != NULL ? fetch_piece(f, number) : NULL;
    fetch_unref(f);
    return o;
}

fetch_t *slices_fetch(request_t *rq, object_t *head, uint64_t number, bool *mine)
{
    arena_t scratch; /* a long response takes many slices */
    arena_init(&scratch, 0);
    span_t validator = revalidate_strong(object_fields(head));
    range_t bytes = slices_at(rq, number * PIECE_BYTES, (uint64_t)object_length(head));
    slice_t s = {
        rq, head, number, bytes,
        arena_printf(&scratch, "bytes=%llu-%llu", (unsigned long long)bytes.first, (unsigned long long)bytes.last)};
    fetch_t *f = collapse_running(rq->env->collapse, rq->key.digest, slices_joinable, &s, NULL);
    *mine = false;
    if (f == NULL && validator.p != NULL && rq->env->warm != NULL) {
        fetch_t *fresh = slices_new(rq, head, &s, validator, &scratch);
        if (fresh != NULL) {
            f = collapse_running(rq->env->collapse, rq->key.digest, slices_joinable, &s, fresh);
            *mine = f == NULL;
            if (*mine)
                f = fresh;
            else
                fetch_unref(fresh);
        }
    }
    arena_release(&scratch);
    return f;
}
