/* Parts (RFC 9111 3.3, 3.4): what answers a range alone, or was cut, is stored as a part. Parts with the same strong
 * validator that touch or overlap become one, and the whole when nothing is missing; what a stored part lacks is asked
 * for by Range with If-Range, and both together are the response.
 *
 * A body that was put together carries the lowest ledger position of its bytes, so a purge of any of them is a purge of
 * all. Putting together copies bytes on the loop, so it has a ceiling. Parts live in memory only. */
#include <stddef.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/part.h"
#include "edge/policy/revalidate.h"
#include "edge/tbl/metrics.h"

enum { FETCH_PARTS_COPIED = 16 * 1024 * 1024 /* bytes that are put together at most */ };

/* ---- completing a stored part ---- */

bool fetch_parts_ask(fetch_t *f, fields_t *fields)
{
    const object_t *o = f->spec.part;
    stored_t meta = object_meta(o);
    range_t lacks;
    span_t validator = revalidate_strong(object_fields(o));
    uint64_t held = body_length(object_body(o));
    if (validator.p == NULL || held > FETCH_PARTS_COPIED || !part_lacks(&meta, held, &lacks))
        return false;
    span_t range = lacks.first > 0 ? arena_printf(&f->arena, "bytes=%llu-", (unsigned long long)lacks.first)
                                   : arena_printf(&f->arena, "bytes=0-%llu", (unsigned long long)lacks.last);
    return range.p != NULL && fields_add(fields, SPAN("range"), range) == ERR_OK &&
           fields_add(fields, SPAN("if-range"), validator) == ERR_OK;
}

bool fetch_parts_completes(fetch_t *f, const fields_t *response, int64_t content_length, fields_t *whole)
{
    const object_t *o = f->spec.part;
    stored_t rest = {.status = 206}, meta = object_meta(o);
    range_t lacks;
    return part_describe(&rest, response, content_length) && part_fits(&rest, &meta) &&
           part_lacks(&meta, body_length(object_body(o)), &lacks) && (uint64_t)rest.part_first == lacks.first &&
           (uint64_t)content_length == lacks.last - lacks.first + 1 &&
           revalidate_same_bytes(object_fields(o), response) &&
           revalidate_merge(object_fields(o), response, &f->arena, whole) == ERR_OK;
}

void fetch_parts_date(const fetch_t *f, stored_t *meta)
{
    stored_t held = object_meta(f->spec.part);
    if (held.request_time < meta->request_time)
        meta->request_time = held.request_time;
}

static bool fetch_parts_same_tags(const object_t *a, const object_t *b)
{
    return a->tags_n == b->tags_n &&
           (a->tags_n == 0 || memcmp(object_tags(a), object_tags(b), a->tags_n * sizeof(digest_t)) == 0);
}

/* What the ledger said of the part up to the request is true of both together, if they are found by the same purges.
 * Else all since the oldest bytes is asked again; what the ledger has forgotten since then counts against them. */
void fetch_parts_stamp(fetch_t *f, object_t *o)
{
    if (fetch_parts_same_tags(o, f->spec.part) && o->stamp.began < f->spec.began)
        atomic_store_explicit(&o->stamp.checked_to, f->spec.began, memory_order_release);
}

/* Appends what is published of `from` in [first, end). */
static err_t fetch_parts_copy(body_t *to, const body_t *from, uint64_t first, uint64_t end)
{
    enum { PIECES = 16 };
    struct iovec v[PIECES];
    body_cursor_t at = {0};
    err_t err = ERR_OK;
    body_seek(from, &at, first);
    for (size_t n; err == ERR_OK && (n = body_read(from, &at, end, v, PIECES, SIZE_MAX)) > 0;)
        for (size_t i = 0; err == ERR_OK && i < n; i++)
            err = body_append(to, span_of(v[i].iov_base, v[i].iov_len), NULL);
    return err;
}

err_t fetch_parts_before(fetch_t *f)
{
    const object_t *o = f->spec.part;
    const body_t *held = object_body(o);
    return object_meta(o).part_first == 0
               ? fetch_parts_copy(object_body(f->response.object), held, 0, body_length(held))
               : ERR_OK;
}

err_t fetch_parts_behind(fetch_t *f)
{
    const object_t *o = f->spec.part;
    const body_t *held = object_body(o);
    body_t *body = object_body(f->response.object);
    uint64_t first = (uint64_t)object_meta(o).part_first;
    return first > 0 && body_length(body) == first ? fetch_parts_copy(body, held, 0, body_length(held)) : ERR_OK;
}

/* ---- storing parts ---- */

typedef struct fetch_parts {
    const object_t *mine;
    object_t *v[STORE_MAX_VARIANTS]; /* references to what is stored for the same variant */
    bool used[STORE_MAX_VARIANTS];
    size_t n;
} fetch_parts_t;

static void fetch_parts_visit(object_t *o, void *arg)
{
    fetch_parts_t *p = arg;
    if (object_part(o) && p->n < STORE_MAX_VARIANTS && span_eq(object_key(o), object_key(p->mine)) &&
        span_eq(object_selecting(o), object_selecting(p->mine)))
        p->v[p->n++] = object_ref(o);
}

static void fetch_parts_gather(fetch_t *f, const object_t *mine, fetch_parts_t *p)
{
    *p = (fetch_parts_t){.mine = mine};
    store_each(f->deps->store, mine->digest, fetch_parts_visit, p);
}

static void fetch_parts_let_go(fetch_parts_t *p)
{
    for (size_t i = 0; i < p->n; i++)
        object_unref(p->v[i]);
}

static range_t fetch_parts_range(const object_t *o)
{
    uint64_t first = (uint64_t)object_meta(o).part_first;
    return (range_t){first, first + body_length(object_body(o)) - 1};
}

static mark_t fetch_parts_check(fetch_t *f, object_t *o)
{
    ledger_subject_t s = {
        .uri = object_uri(o), .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    return ledger_stamp_check(f->deps->ledger, &o->stamp, &s);
}

mark_t fetch_parts_mark(fetch_t *f)
{
    return fetch_parts_check(f, f->spec.part);
}

static bool fetch_parts_same(const object_t *a, const object_t *b)
{
    span_t x = revalidate_strong(object_fields(a)), y = revalidate_strong(object_fields(b));
    stored_t of_a = object_meta(a), of_b = object_meta(b);
    return x.p != NULL && y.p != NULL && span_eq(x, y) && part_fits(&of_a, &of_b);
}

/* What is put together: which bytes, how old, and up to where the ledger was asked about all of them. */
typedef struct fetch_parts_sum {
    range_t all;
    uint64_t began, checked;
    msec_t request_time;
} fetch_parts_sum_t;

static void fetch_parts_add(fetch_parts_sum_t *sum, const object_t *mine, const object_t *o)
{
    range_t r = fetch_parts_range(o);
    msec_t requested = object_meta(o).request_time;
    uint64_t checked = fetch_parts_same_tags(mine, o) ? atomic_load_explicit(&o->stamp.checked_to, memory_order_acquire)
                                                      : o->stamp.began;
    sum->all.first = r.first < sum->all.first ? r.first : sum->all.first;
    sum->all.last = r.last > sum->all.last ? r.last : sum->all.last;
    sum->began = o->stamp.began < sum->began ? o->stamp.began : sum->began;
    sum->checked = checked < sum->checked ? checked : sum->checked;
    sum->request_time = requested < sum->request_time ? requested : sum->request_time;
}

/* Chooses what `mine` can be put together with. */
static fetch_parts_sum_t fetch_parts_choose(fetch_t *f, fetch_parts_t *p)
{
    fetch_parts_sum_t sum = {.all = fetch_parts_range(p->mine),
                             .began = p->mine->stamp.began,
                             .checked = atomic_load_explicit(&p->mine->stamp.checked_to, memory_order_acquire),
                             .request_time = object_meta(p->mine).request_time};
    for (bool grew = true; grew;) {
        grew = false;
        for (size_t i = 0; i < p->n; i++) {
            range_t r = fetch_parts_range(p->v[i]);
            if (p->used[i] || r.first > sum.all.last + 1 || sum.all.first > r.last + 1 ||
                !fetch_parts_same(p->mine, p->v[i]) || fetch_parts_check(f, p->v[i]) != MARK_NONE)
                continue;
            fetch_parts_add(&sum, p->mine, p->v[i]);
            p->used[i] = grew = true;
        }
    }
    return sum;
}

static err_t fetch_parts_fill(body_t *body, const fetch_parts_t *p, range_t all)
{
    for (uint64_t at = all.first; at <= all.last;) {
        const object_t *from = NULL;
        range_t mine = fetch_parts_range(p->mine), r = mine;
        if (at >= mine.first && at <= mine.last)
            from = p->mine;
        for (size_t i = 0; from == NULL && i < p->n; i++) {
            r = fetch_parts_range(p->v[i]);
            if (p->used[i] && at >= r.first && at <= r.last)
                from = p->v[i];
        }
        CHECK(from != NULL);
        err_t err = fetch_parts_copy(body, object_body(from), at - r.first, r.last + 1 - r.first);
        if (err != ERR_OK)
            return err;
        at = r.last + 1;
    }
    return ERR_OK;
}

/* A response of `mine`'s head around other bytes, complete. */
static object_t *fetch_parts_object(fetch_t *f, const object_t *mine, const fetch_parts_sum_t *sum, body_t *body)
{
    stored_t meta = object_meta(mine);
    bool whole = sum->all.first == 0 && sum->all.last + 1 == (uint64_t)meta.content_length;
    meta.status = whole ? 200 : 206;
    meta.flags = whole ? meta.flags & ~(uint32_t)STORED_PART : meta.flags | STORED_PART;
    meta.part_first = whole ? 0 : (int64_t)sum->all.first;
    meta.request_time = sum->request_time;
    size_t size = sizeof(fieldblock_t) + object_fields(mine)->size;
    fieldblock_t *fields = mem_alloc(size);
    memcpy(fields, object_fields(mine), offsetof(fieldblock_t, bytes) + object_fields(mine)->size);
    body_end(body, BODY_COMPLETE);
    object_t *o =
        object_new(&f->key, object_selecting(mine), &meta, sum->began, fields, body, object_tags(mine), mine->tags_n);
    ledger_stamp_raise(&o->stamp, (mark_t)atomic_load_explicit(&mine->stamp.mark, memory_order_acquire));
    atomic_store_explicit(&o->stamp.checked_to, sum->checked, memory_order_release);
    atomic_fetch_or(&o->flags, (uint16_t)(atomic_load(&mine->flags) & OBJECT_VIA_SHIELD));
    return o;
}

/* What the used parts and `mine` make together; NULL: there is nothing to put together, or no room for it. */
static object_t *fetch_parts_join(fetch_t *f, fetch_parts_t *p, uint64_t *reserved)
{
    fetch_parts_sum_t sum = fetch_parts_choose(f, p);
    uint64_t size = sum.all.last - sum.all.first + 1;
    *reserved = size + FIELDS_MAX_COUNT;
    if (size == body_length(object_body(p->mine)) || size > FETCH_PARTS_COPIED || size > f->deps->max_object ||
        !store_reserve(f->deps->store, *reserved)) {
        memset(p->used, 0, sizeof p->used);
        return NULL;
    }
    body_t *body = body_new((int64_t)size);
    CHECK(fetch_parts_fill(body, p, sum.all) == ERR_OK);
    return fetch_parts_object(f, p->mine, &sum, body);
}

/* One more part than are kept apart: the oldest goes. */
static void fetch_parts_crowded(fetch_t *f, const fetch_parts_t *p)
{
    object_t *oldest = NULL;
    size_t apart = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->used[i] || object_variant(p->v[i]) == object_variant(p->mine))
            continue;
        apart++;
        if (oldest == NULL || object_meta(p->v[i]).response_time < object_meta(oldest).response_time)
            oldest = p->v[i];
    }
    if (apart >= PART_MAX_APART)
        store_remove(f->deps->store, oldest);
}

/* The part alone; a small one as a copy without slack, while what was reserved stands for its first form. */
static err_t fetch_parts_insert(fetch_t *f, object_t *o, uint64_t *reserved)
{
    object_t *packed = object_packed(o);
    err_t err = store_insert(f->deps->store, packed != NULL ? packed : o, packed != NULL ? 0 : *reserved);
    if (err == ERR_OK && packed == NULL)
        *reserved = 0;
    object_unref(packed);
    return err;
}

err_t fetch_parts_store(fetch_t *f, object_t *o, uint64_t *reserved)
{
    fetch_parts_t p;
    uint64_t room;
    fetch_parts_gather(f, o, &p);
    object_t *together = fetch_parts_join(f, &p, &room);
    fetch_parts_crowded(f, &p);
    bool joined = false;
    if (together != NULL) {
        joined = fetch_parts_check(f, together) < MARK_STRICT && store_insert(f->deps->store, together, room) == ERR_OK;
        if (!joined)
            store_unreserve(f->deps->store, room);
        for (size_t i = 0; joined && i < p.n; i++)
            if (p.used[i])
                store_remove(f->deps->store, p.v[i]); /* their bytes are in what was put together */
        if (joined && !object_part(together))
            fetch_parts_superseded(f, together);
    }
    err_t err = joined ? ERR_OK : fetch_parts_insert(f, o, reserved);
    object_unref(together);
    fetch_parts_let_go(&p);
    return err;
}

void fetch_parts_superseded(fetch_t *f, const object_t *whole)
{
    fetch_parts_t p;
    fetch_parts_gather(f, whole, &p);
    for (size_t i = 0; i < p.n; i++)
        store_remove(f->deps->store, p.v[i]);
    fetch_parts_let_go(&p);
}

/* ---- what was cut ---- */

void fetch_parts_keep_cut(fetch_t *f)
{
    const object_t *o = f->response.object;
    const body_t *came = object_body(o);
    stored_t meta = object_meta(o);
    uint64_t got = body_length(came), first = (uint64_t)meta.part_first, room = got + FIELDS_MAX_COUNT;
    bool kind = meta.status == 200 || (meta.flags & (STORED_PART | STORED_PART_ALONE)) == STORED_PART;
    if (!kind || got == 0 || meta.content_length < 0 || first + got >= (uint64_t)meta.content_length ||
        revalidate_strong(object_fields(o)).p == NULL || got > FETCH_PARTS_COPIED || got > f->deps->max_object ||
        !store_reserve(f->deps->store, room))
        return;
    body_t *body = body_new((int64_t)got);
    CHECK(fetch_parts_copy(body, came, 0, got) == ERR_OK);
    fetch_parts_sum_t sum = {.all = {first, first + got - 1},
                             .began = o->stamp.began,
                             .checked = atomic_load_explicit(&o->stamp.checked_to, memory_order_acquire),
                             .request_time = meta.request_time};
    object_t *part = fetch_parts_object(f, o, &sum, body);
    if (fetch_parts_check(f, part) < MARK_STRICT)
        (void)fetch_parts_store(f, part, &room);
    store_unreserve(f->deps->store, room);
    object_unref(part);
}
