/* The life of a fetch as others see it: references, phases, readers. What happens on the wire is in fetch_fsm.c, what
 * becomes of the bytes in fetch_fill.c.
 *
 * A shared fetch goes on without its readers: the next request will want it. But not for a long way that has hardly
 * begun: else whoever asks for one byte of each of many large things, or hangs up, makes the origin send them all; what
 * came is kept as a part. One that isn't stored lives for its
 * readers alone; the slowest of them holds it back, and when the last one leaves it is given up. Readers on other loops
 * tell the owner by one message, however many of them have something to tell. */
#include "edge/fetch/fetch.h"

#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/store/piece.h"
#include "edge/tbl/metrics.h"

enum { FETCH_REST = 1024 * 1024 /* bytes that are fetched for nobody */ };

static _Atomic uint64_t fetch_windows; /* bytes of all windows in this process */

static void fetch_ref_owner(void *f)
{
    fetch_ref(f);
}

static void fetch_unref_owner(void *f)
{
    fetch_unref(f);
}

/* `known`, copied to `copies`: what `from` has of it (in its order) isn't copied again. */
static void fetch_copy_fields(fetch_t *f, fields_t *to, const fields_t *from, const fields_t *known,
                              const fields_t *copies)
{
    arena_t *a = &f->message;
    size_t k = 0;
    fields_init(to, a);
    for (size_t i = 0; from != NULL && i < from->n; i++) {
        size_t at = k;
        while (known != NULL && at < known->n && known->v[at].value.p != from->v[i].value.p)
            at++;
        bool same = known != NULL && at < known->n && known->v[at].value.n == from->v[i].value.n;
        span_t name = arena_copy(a, from->v[i].name),
               value = same ? copies->v[at].value : arena_copy(a, from->v[i].value);
        CHECK(name.p != NULL && value.p != NULL && fields_add(to, name, value) == ERR_OK);
        k = same ? at + 1 : k;
    }
}

static void fetch_copy_key(fetch_t *f, const cache_key_t *k)
{
    arena_t *a = &f->arena;
    f->key = (cache_key_t){.digest = k->digest, .uri_digest = k->uri_digest};
    f->key.scheme = arena_copy(a, k->scheme);
    f->key.host = arena_copy(a, k->host);
    f->key.path = arena_copy(a, k->path);
    f->key.query = k->query.p != NULL ? arena_copy(a, k->query) : SPAN_NONE;
    f->key.uri = arena_copy(a, k->uri);
    f->key.text = arena_copy(a, k->text);
}

/* Of a fill that somebody wanted: is much of it still to come, or nobody knows how much? */
static bool fetch_long(const fetch_t *f)
{
    if (!f->filling || !f->had_reader || f->completing || f->spec.range.p != NULL)
        return false;
    uint64_t got = body_length(object_body(f->response.object)), all = (uint64_t)f->expected;
    return f->expected < 0 ? got > FETCH_REST : got < all / 2 && all - got > FETCH_REST;
}

bool fetch_unwanted(fetch_t *f)
{
    pthread_mutex_lock(&f->mutex);
    bool unwanted = list_empty(&f->readers) && (f->closed || !f->spec.share || fetch_long(f));
    f->closed |= unwanted; /* nobody shall join what is about to be given up */
    pthread_mutex_unlock(&f->mutex);
    return unwanted;
}

static void fetch_nudged(loop_message_t *m)
{
    fetch_t *f = CONTAINER_OF(m, fetch_t, nudge);
    pthread_mutex_lock(&f->mutex);
    f->nudged = false;
    pthread_mutex_unlock(&f->mutex);
    if (!f->ended) {
        if (fetch_unwanted(f))
            fetch_fsm_abandon(f);
        else if (f->paused && !fetch_window_full(f))
            fetch_fsm_resume(f);
    }
    fetch_unref(f);
}

fetch_t *fetch_new(fetch_deps_t *deps, const fetch_spec_t *spec)
{
    fetch_t *f = mem_zalloc(sizeof *f);
    atomic_init(&f->refs, 1);
    notice_init(&f->notice, f, fetch_ref_owner, fetch_unref_owner);
    pthread_mutex_init(&f->mutex, NULL);
    list_init(&f->readers);
    f->nudge.run = fetch_nudged;
    fetch_route_init(f);
    arena_init(&f->arena, 0);
    arena_init(&f->message, 0);
    f->started_wall = deps->loop->now.wall;
    f->deps = deps;
    f->store = deps->store;
    f->labels = spec->upstream_labels != NULL ? spec->upstream_labels : deps->upstream_labels;
    f->spec = *spec;
    upstreams_ref(spec->upstreams);
    fetch_copy_key(f, spec->key);
    fetch_copy_fields(f, &f->request, spec->request, NULL, NULL);
    fetch_copy_fields(f, &f->forward, spec->forward, spec->request, &f->request);
    f->spec.key = &f->key;
    f->spec.request = &f->request;
    f->spec.forward = &f->forward;
    f->spec.method_name = arena_copy(&f->arena, spec->method_name);
    f->spec.hops = spec->hops.p != NULL ? arena_copy(&f->arena, spec->hops) : SPAN_NONE;
    f->spec.target = arena_copy(&f->arena, spec->target);
    f->spec.upgrade = spec->upgrade.p != NULL ? arena_copy(&f->arena, spec->upgrade) : SPAN_NONE;
    f->spec.body = spec->has_body ? arena_copy(&f->message, spec->body) : SPAN_NONE;
    f->spec.range = spec->range.p != NULL ? arena_copy(&f->arena, spec->range) : SPAN_NONE;
    f->object_began = f->oldest = spec->began;
    if (spec->validate != NULL)
        object_ref(spec->validate);
    if (spec->pieces != NULL) {
        fetch_pieces_range(f, spec->slice);
        atomic_init(&f->slice.of, object_ref(spec->pieces));
    }
    if (spec->part != NULL) { /* the response may be as old as this part of it */
        object_ref(spec->part);
        msec_t started = object_meta(spec->part).request_time;
        f->oldest = spec->part->stamp.began < spec->began ? spec->part->stamp.began : spec->began;
        f->started_wall = started < f->started_wall ? started : f->started_wall;
    }
    atomic_init(&f->windowed, !spec->share);
    return f;
}

void fetch_run(fetch_t *f)
{
    fetch_ref(f); /* the running fetch's own */
    f->started_nanos = clock_nanos();
    fetch_fsm_begin(f);
}

fetch_t *fetch_ref(fetch_t *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void fetch_unref(fetch_t *f)
{
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    CHECK(list_empty(&f->readers) && f->call == NULL && !f->filling);
    atomic_fetch_sub_explicit(&fetch_windows, f->held, memory_order_relaxed);
    store_unreserve(f->store, f->reserved); /* a body that isn't stored counts as long as somebody reads it */
    notice_release(&f->notice);
    pthread_mutex_destroy(&f->mutex);
    object_unref(f->response.object);
    free(f->response.full);
    object_unref(f->spec.validate);
    object_unref(f->spec.part);
    object_unref(atomic_load_explicit(&f->slice.of, memory_order_relaxed));
    for (size_t i = 0; i < FETCH_SLICE_PIECES; i++)
        object_unref(f->slice.piece[i]);
    for (fetch_interim_t *i = atomic_load_explicit(&f->interim, memory_order_relaxed), *next; i != NULL; i = next) {
        next = atomic_load_explicit(&i->next, memory_order_relaxed);
        free(i->fields);
        free(i);
    }
    upstreams_unref(f->spec.upstreams);
    arena_release(&f->arena);
    arena_release(&f->message);
    free(f);
}

void fetch_publish(fetch_t *f, fetch_phase_t phase)
{
    loop_timer_stop(f->deps->loop, &f->late);
    f->head_nanos = clock_nanos() - f->started_nanos;
    atomic_store_explicit(&f->phase, phase, memory_order_release);
}

void fetch_forget_message(fetch_t *f)
{
    f->request = f->forward = (fields_t){0};
    f->spec.body = SPAN_NONE;
    arena_release(&f->message);
}

void fetch_settle(fetch_t *f)
{
    if (f->settled)
        return;
    f->settled = true;
    if (f->spec.on_settled != NULL)
        f->spec.on_settled(f, f->spec.arg);
}

void fetch_close(fetch_t *f)
{
    pthread_mutex_lock(&f->mutex);
    f->closed = true;
    atomic_store_explicit(&f->windowed, true, memory_order_seq_cst);
    pthread_mutex_unlock(&f->mutex);
}

fetch_phase_t fetch_phase(const fetch_t *f)
{
    return (fetch_phase_t)atomic_load_explicit(&f->phase, memory_order_acquire);
}

const fetch_response_t *fetch_response(const fetch_t *f)
{
    CHECK(fetch_phase(f) == FETCH_STREAMING);
    return &f->response;
}

upstream_result_t fetch_result(const fetch_t *f)
{
    return f->result;
}

const fetch_interim_t *fetch_interim(const fetch_t *f, const fetch_interim_t *last)
{
    return atomic_load_explicit(last != NULL ? &last->next : &f->interim, memory_order_acquire);
}

msec_t fetch_started(const fetch_t *f)
{
    return f->started_wall;
}

uint64_t fetch_began(const fetch_t *f)
{
    return f->oldest;
}

const cache_key_t *fetch_key(const fetch_t *f)
{
    return &f->key;
}

bool fetch_shares(const fetch_t *f)
{
    return f->spec.share;
}

span_t fetch_range(const fetch_t *f)
{
    return f->spec.range;
}

object_t *fetch_pieces_of(const fetch_t *f)
{
    return atomic_load_explicit(&f->slice.of, memory_order_acquire);
}

bool fetch_disowned(const fetch_t *f)
{
    return f->slice.disowned;
}

bool fetch_past_shields(const fetch_t *f)
{
    return f->spec.past_shields;
}

bool fetch_optional(const fetch_t *f)
{
    return f->spec.optional;
}

const char *fetch_upstream_name(const fetch_t *f)
{
    return f->upstream_name != NULL ? f->upstream_name : "-";
}

int64_t fetch_nanos(const fetch_t *f)
{
    return f->head_nanos;
}

bool fetch_covered(fetch_t *f, ledger_t *l)
{
    uint64_t head = ledger_head(l), upto;
    if (f->spec.began == head)
        return false;
    if (fetch_phase(f) != FETCH_STREAMING)
        return true; /* its tags are not known yet */
    const object_t *o = f->response.object;
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    return ledger_check(l, &subject, o->stamp.began, &upto) != MARK_NONE;
}

/* ---- readers ---- */

static void fetch_tell_owner(fetch_t *f)
{
    pthread_mutex_lock(&f->mutex);
    bool post = !f->nudged;
    f->nudged = true;
    pthread_mutex_unlock(&f->mutex);
    if (post) {
        fetch_ref(f);
        loop_post(f->deps->loop, &f->nudge);
    }
}

static bool fetch_attach_at(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *), uint64_t consumed)
{
    notice_waiter_init(&r->waiter, run);
    atomic_init(&r->consumed, consumed);
    pthread_mutex_lock(&f->mutex);
    bool open = !f->closed;
    if (open)
        list_push_back(&f->readers, &r->link);
    f->had_reader |= open;
    pthread_mutex_unlock(&f->mutex);
    r->fetch = open ? fetch_ref(f) : NULL;
    return open;
}

bool fetch_attach(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *))
{
    return fetch_attach_at(f, r, run, 0);
}

bool fetch_attach_pieces(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *))
{
    return fetch_attach_at(f, r, run, UINT64_MAX);
}

void fetch_wait(fetch_reader_t *r, loop_t *loop)
{
    notice_subscribe(&r->fetch->notice, loop, &r->waiter);
}

void fetch_consumed(fetch_reader_t *r, uint64_t upto)
{
    fetch_t *f = r->fetch;
    uint64_t before = atomic_exchange_explicit(&r->consumed, upto, memory_order_seq_cst);
    /* only a response that is not stored is held back; telling its owner at each half of the least window is enough */
    if (atomic_load_explicit(&f->windowed, memory_order_seq_cst) &&
        upto / (FETCH_WINDOW_LEAST / 2) != before / (FETCH_WINDOW_LEAST / 2))
        fetch_tell_owner(f);
}

void fetch_detach(fetch_reader_t *r)
{
    fetch_t *f = r->fetch;
    if (f == NULL)
        return;
    notice_unsubscribe(&r->waiter);
    pthread_mutex_lock(&f->mutex);
    list_remove(&r->link);
    /* nobody may be left, or it was this one that held the others back */
    bool tell = list_empty(&f->readers) || atomic_load_explicit(&f->windowed, memory_order_relaxed);
    pthread_mutex_unlock(&f->mutex);
    r->fetch = NULL;
    if (tell)
        fetch_tell_owner(f);
    fetch_unref(f);
}

void fetch_window_grows(fetch_t *f, size_t bytes)
{
    if (bytes == 0)
        return;
    f->held += bytes;
    atomic_fetch_add_explicit(&fetch_windows, bytes, memory_order_relaxed);
    if (store_reserve(f->store, bytes))
        f->reserved += bytes;
}

static void fetch_window_shrinks(fetch_t *f, uint64_t bytes)
{
    uint64_t less = bytes < f->held ? bytes : f->held, back = bytes < f->reserved ? bytes : f->reserved;
    f->held -= less;
    atomic_fetch_sub_explicit(&fetch_windows, less, memory_order_relaxed);
    if (back > 0)
        store_unreserve(f->store, back);
    f->reserved -= back;
}

void fetch_aside(fetch_t *f, uint64_t bytes)
{
    if (bytes > f->aside)
        fetch_window_grows(f, bytes - f->aside);
    else
        fetch_window_shrinks(f, f->aside - bytes);
    f->aside = bytes;
}

/* Where many slow readers hold many windows, these get small; never so small that nothing could be cut from them. */
static uint64_t fetch_window(const fetch_t *f)
{
    uint64_t most = f->deps->windows_most;
    if (most == 0 || atomic_load_explicit(&fetch_windows, memory_order_relaxed) < most)
        return FETCH_WINDOW;
    return FETCH_WINDOW_LEAST + (f->pieces != NULL ? PIECE_BYTES : 0);
}

/* Trims what every reader has consumed; is there still a window's worth unread? */
bool fetch_window_full(fetch_t *f)
{
    if (f->response.object == NULL)
        return false;
    body_t *body = object_body(f->response.object);
    uint64_t least = body_length(body);
    pthread_mutex_lock(&f->mutex);
    for (list_t *n = f->readers.next; n != &f->readers; n = n->next) {
        uint64_t c = atomic_load_explicit(&LIST_ITEM(n, fetch_reader_t, link)->consumed, memory_order_acquire);
        if (c < least)
            least = c;
    }
    pthread_mutex_unlock(&f->mutex);
    size_t freed = body_trim(body, least);
    fetch_window_shrinks(f, freed);
    return body_length(body) - least >= fetch_window(f);
}

/* ---- tunnels ---- */

size_t fetch_send(fetch_t *f, span_t bytes)
{
    size_t n = f->call != NULL ? f->deps->client->ops->send(f->call, bytes) : bytes.n;
    metrics_add(METRIC_BYTES_MOVED, LABEL_DIRECTION_UPSTREAM_OUT, n);
    return n;
}

bool fetch_finish(fetch_t *f)
{
    return f->call == NULL || f->deps->client->ops->finish(f->call);
}
