/* The bytes of a response that lies on disk in pieces (edge/store/piece.h), a few pieces ahead of the client: what is
 * in the page cache is copied on the spot, the rest is read by a helper thread while the client takes what came before.
 * A client holds PIECES_SLOTS pieces at most, counted in the memory budget; where that has no room it waits.
 *
 * Where a piece is known to be missing it is asked for before the head is sent: if the server has another version by
 * now, the client gets that one, instead of a response that ends where the piece is missing. A piece that turns out to
 * be missing only when its turn comes (a record that can't be read, a slice that was cut) can still end one visibly.
 *
 * A purge that comes while the response is being sent doesn't end it (it had begun): pieces that are no older than its
 * head passed what the head did. An older one passes the purge ledger by itself; if a hard purge covers it, it is as
 * good as missing. */
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/policy/revalidate.h"
#include "edge/request/request_priv.h"
#include "edge/store/piece.h"

enum {
    PIECES_SLOTS = 2,                /* of PIECE_BYTES each: what one client may take of the memory */
    PIECES_SENT = 1,                 /* at most, by one send: the others are read meanwhile */
    PIECES_NOW = PIECE_BYTES + 4096, /* bytes of a record that are copied on the loop, if they are in the page cache */
    PIECES_TRIES = 3,                /* fetches that may fail before a response is cut */
    PIECES_RETRY = 20,               /* ms, where memory has no room for a piece */
    PIECES_LOOKED = 4096             /* asked after before a hit, where none could be added: 1 ms at most */
};

typedef enum piece_state {
    PIECE_NONE,
    PIECE_READING,
    PIECE_MISSING, /* on disk */
    PIECE_FETCHING,
    PIECE_HERE,
    PIECE_CROWDED, /* memory has no room for it */
    PIECE_LOST
} piece_state_t;

/* Outlives the request, if that goes while the disk is being asked. */
typedef struct piece_read {
    warm_get_t get;
    request_env_t *env;
    request_t *rq; /* NULL: gone */
    object_t *head;
    uint64_t edition, number;
    bool crowded;
    int64_t began; /* nanoseconds */
} piece_read_t;

typedef struct piece_slot {
    piece_state_t state;
    uint64_t number;
    object_t *piece;
    piece_read_t *read;
    fetch_reader_t reader;
    request_t *rq;
    msec_t since; /* boot */
} piece_slot_t;

struct request_pieces {
    request_t *rq;
    uint64_t edition, length;
    unsigned tries;     /* fetches that have failed, in a row */
    loop_timer_t retry; /* for room, or for a disk that doesn't answer */
    piece_slot_t slot[PIECES_SLOTS];
    bool sure;              /* pieces_sure has an answer */
    bool gone;              /* a fetch of a missing piece found another version */
    upstream_result_t away; /* why the latest one brought nothing */
    piece_slot_t asks;      /* pieces_sure waits for the head of a fetch of that piece */
};

static bool pieces_match(const warm_get_t *g, span_t key, span_t selecting, const stored_t *meta)
{
    const piece_read_t *r = CONTAINER_OF(g, piece_read_t, get);
    (void)selecting, (void)meta;
    return piece_is(key, r->head, r->edition, r->number);
}

static bool pieces_admit(warm_get_t *g, uint64_t bytes)
{
    piece_read_t *r = CONTAINER_OF(g, piece_read_t, get);
    bool room = store_reserve(r->env->store, bytes);
    r->crowded = !room;
    return room;
}

bool pieces_as_good(const object_t *head, uint64_t began)
{
    return began >= head->stamp.began;
}

static void pieces_read_free(piece_read_t *r)
{
    object_unref(r->head);
    free(r);
}

/* Counted until it has been sent. Takes the reference; NULL: it is of no use. */
static object_t *pieces_arrived(piece_read_t *r, object_t *o)
{
    request_env_t *env = r->env;
    uint64_t granted = r->get.granted;
    metrics_observe(METRIC_DISK_READ_TIME, 0, clock_nanos() - r->began);
    if (o != NULL) {
        ledger_subject_t subject = lookup_subject(o);
        uint64_t length = (uint64_t)object_length(r->head);
        bool dead = !pieces_as_good(r->head, o->stamp.began) &&
                    ledger_stamp_check(env->ledger, &o->stamp, &subject) == MARK_HARD;
        if (dead || body_length(object_body(o)) != piece_size(length, r->number)) {
            if (env->warm != NULL)
                warm_remove(env->warm, o->digest, object_variant(o));
            object_unref(o);
            o = NULL;
        } else if (store_adopt(env->store, o, granted) == ERR_OK) {
            granted = 0;
        }
    }
    if (granted > 0)
        store_unreserve(env->store, granted);
    return o;
}

static void pieces_settle(piece_slot_t *s, piece_read_t *r, object_t *o)
{
    s->read = NULL;
    s->piece = o;
    if (o != NULL)
        s->rq->pieces->tries = 0;
    s->state = o != NULL ? PIECE_HERE : r->crowded ? PIECE_CROWDED : PIECE_MISSING;
}

static void pieces_done(warm_get_t *g, object_t *o)
{
    piece_read_t *r = CONTAINER_OF(g, piece_read_t, get);
    request_t *rq = r->rq;
    r->env->pieces_reading--;
    o = pieces_arrived(r, o);
    if (rq == NULL)
        object_unref(o);
    for (size_t i = 0; rq != NULL && i < PIECES_SLOTS; i++)
        if (rq->pieces->slot[i].read == r)
            pieces_settle(&rq->pieces->slot[i], r, o);
    pieces_read_free(r);
    if (rq != NULL)
        request_fsm_run(rq);
}

/* Is there another way than the disk, and is it to be waited for no longer than that? */
static bool pieces_may_pass(const request_pieces_t *p)
{
    const request_t *rq = p->rq;
    return rq->conf->disk.wait > 0 && revalidate_strong(object_fields(rq->object)).p != NULL;
}

static void pieces_start(request_pieces_t *p, piece_slot_t *s, uint64_t number)
{
    request_env_t *env = p->rq->env;
    *s = (piece_slot_t){.state = PIECE_MISSING, .number = number, .rq = p->rq, .since = env->loop->now.boot};
    if ((s->piece = slices_held(p->rq, p->rq->object, number)) != NULL) {
        s->state = PIECE_HERE;
        return;
    }
    digest_t digest = piece_digest(p->rq->object, p->edition, number);
    if (env->warm == NULL || !warm_maybe(env->warm, digest) ||
        (pieces_may_pass(p) && warm_stalled(env->warm, p->rq->conf->disk.wait)))
        return;
    piece_read_t *r = mem_zalloc(sizeof *r);
    *r = (piece_read_t){.env = env,
                        .rq = p->rq,
                        .head = object_ref(p->rq->object),
                        .edition = p->edition,
                        .number = number,
                        .began = clock_nanos()};
    r->get = (warm_get_t){.loop = env->loop,
                          .digest = digest,
                          .match = pieces_match,
                          .admit = pieces_admit,
                          .done = pieces_done,
                          .now_most = PIECES_NOW};
    object_t *o = NULL;
    err_t e = warm_get_now(env->warm, &r->get, &o);
    if (e == ERR_AGAIN) {
        store_unreserve(env->store, r->get.granted);
        s->state = PIECE_READING;
        s->read = r;
        env->pieces_reading++;
        warm_get(env->warm, &r->get);
        return;
    }
    pieces_settle(s, r, pieces_arrived(r, o));
    pieces_read_free(r);
}

/* ---- what is missing ---- */

static void pieces_woken(notice_waiter_t *w)
{
    fetch_reader_t *r = CONTAINER_OF(w, fetch_reader_t, waiter);
    request_fsm_run(CONTAINER_OF(r, piece_slot_t, reader)->rq);
}

static void pieces_join(request_pieces_t *p, piece_slot_t *s)
{
    bool mine;
    fetch_t *f = p->tries < PIECES_TRIES ? slices_fetch(p->rq, p->rq->object, s->number, &mine) : NULL;
    if (f == NULL) {
        s->state = PIECE_LOST;
        return;
    }
    if (fetch_attach_pieces(f, &s->reader, pieces_woken))
        s->state = PIECE_FETCHING;
    else
        p->tries++; /* it has just ended */
    if (mine)
        fetch_run(f);
    else
        metrics_add(METRIC_COLLAPSED, 0, 1);
    fetch_unref(f);
}

/* Has it come? If it isn't held any more, the disk has it by now. */
static void pieces_look(request_pieces_t *p, piece_slot_t *s)
{
    fetch_t *f = s->reader.fetch;
    fetch_wait(&s->reader, p->rq->env->loop);
    bool over = fetch_pieces_over(f); /* before the piece: what was over had all that it would have */
    s->piece = fetch_piece(f, s->number);
    if (s->piece == NULL && !over && !fetch_piece_passed(f, s->number))
        return;
    bool failed = fetch_phase(f) == FETCH_FAILED;
    p->gone |= failed && fetch_disowned(f);
    p->away = failed ? fetch_result(f) : UPSTREAM_CUT;
    if (failed && fetch_result(f) == UPSTREAM_CUT)
        p->tries = PIECES_TRIES; /* it is another version now */
    fetch_detach(&s->reader);
    s->state = s->piece != NULL ? PIECE_HERE : PIECE_MISSING;
    p->tries = s->piece != NULL ? 0 : p->tries + 1;
    if (s->piece == NULL && !failed)
        pieces_start(p, s, s->number);
}

static void pieces_fetch(request_pieces_t *p, piece_slot_t *s)
{
    while (s->state == PIECE_MISSING) {
        pieces_join(p, s);
        if (s->state == PIECE_FETCHING)
            pieces_look(p, s);
    }
}

/* A disk that takes too long is as if it had nothing, if there is another way. */
static bool pieces_give_up(request_pieces_t *p, piece_slot_t *s)
{
    if (!pieces_may_pass(p) || p->rq->env->loop->now.boot - s->since < p->rq->conf->disk.wait)
        return false;
    metrics_add(METRIC_DISK_STALLS, 0, 1);
    s->read->rq = NULL;
    s->read = NULL;
    return true;
}

static void pieces_again(loop_timer_t *t)
{
    request_fsm_run(CONTAINER_OF(t, request_pieces_t, retry)->rq);
}

static request_pieces_t *pieces_of(request_t *rq)
{
    if (rq->pieces == NULL) {
        rq->pieces = mem_zalloc(sizeof *rq->pieces);
        rq->pieces->rq = rq;
        rq->pieces->edition = piece_edition_of(rq->object);
        rq->pieces->length = (uint64_t)object_length(rq->object);
        rq->pieces->retry.run = pieces_again;
    }
    return rq->pieces;
}

/* ---- slots ---- */

static void pieces_drop(piece_slot_t *s)
{
    if (s->read != NULL)
        s->read->rq = NULL;
    fetch_detach(&s->reader);
    object_unref(s->piece);
    *s = (piece_slot_t){.state = PIECE_NONE};
}

void pieces_sent(request_t *rq)
{
    request_pieces_t *p = pieces_of(rq);
    uint64_t now = rq->cursor.at / PIECE_BYTES;
    for (size_t i = 0; i < PIECES_SLOTS; i++) {
        piece_slot_t *s = &p->slot[i];
        if (s->state == PIECE_CROWDED || s->number < now || s->number >= now + PIECES_SLOTS)
            pieces_drop(s);
        else if (s->state == PIECE_FETCHING)
            pieces_look(p, s);
        else if (s->state == PIECE_READING && s->number == now && pieces_give_up(p, s))
            s->state = PIECE_MISSING;
        pieces_fetch(p, s);
    }
}

/* The slot of a piece, which is being read from now on; NULL: all are taken. */
static piece_slot_t *pieces_slot(request_pieces_t *p, uint64_t number)
{
    piece_slot_t *free_one = NULL;
    for (size_t i = 0; i < PIECES_SLOTS; i++) {
        if (p->slot[i].state == PIECE_NONE)
            free_one = &p->slot[i];
        else if (p->slot[i].number == number)
            return &p->slot[i];
    }
    if (free_one != NULL) {
        pieces_start(p, free_one, number);
        pieces_fetch(p, free_one);
    }
    return free_one;
}

/* The next run finds room for it, or gives the disk up. */
static void pieces_wait(request_pieces_t *p, const piece_slot_t *s)
{
    const request_t *rq = p->rq;
    if (s != NULL && s->state == PIECE_CROWDED)
        loop_timer_start(rq->env->loop, &p->retry, PIECES_RETRY);
    else if (s != NULL && s->state == PIECE_READING && rq->conf->disk.wait > 0)
        loop_timer_start(rq->env->loop, &p->retry, rq->conf->disk.wait);
}

size_t pieces_read(request_t *rq, uint64_t end, struct iovec *v, size_t max_v, size_t max_bytes)
{
    request_pieces_t *p = pieces_of(rq);
    size_t n = 0;
    const piece_slot_t *s = NULL;
    while (n < max_v && n < PIECES_SENT && max_bytes > 0 && rq->cursor.at < end) {
        uint64_t number = rq->cursor.at / PIECE_BYTES, base = number * PIECE_BYTES;
        if ((s = pieces_slot(p, number)) == NULL || s->state != PIECE_HERE)
            break;
        uint64_t stop = base + PIECE_BYTES < end ? base + PIECE_BYTES : end;
        size_t take = stop - rq->cursor.at < max_bytes ? (size_t)(stop - rq->cursor.at) : max_bytes;
        body_cursor_t at = {0};
        body_seek(object_body(s->piece), &at, rq->cursor.at - base);
        if (body_read(object_body(s->piece), &at, at.at + take, &v[n], 1, take) != 1)
            break;
        rq->cursor.at += v[n].iov_len;
        max_bytes -= v[n++].iov_len;
    }
    if (n == 0)
        pieces_wait(p, s);
    if (s == NULL || s->state != PIECE_CROWDED)
        for (uint64_t ahead = rq->cursor.at / PIECE_BYTES + 1, k = 0;
             k < PIECES_SENT && ahead * PIECE_BYTES < end && (s == NULL || s->state != PIECE_LOST); k++, ahead++)
            (void)pieces_slot(p, ahead);
    return n;
}

/* ---- before the head ---- */

/* The first piece of the segments that memory knows to be missing. */
static bool pieces_missing(const request_pieces_t *p, const request_segment_t *segments, size_t n, uint64_t *number)
{
    request_t *rq = p->rq;
    uint64_t looked = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t end = segments[i].end < p->length ? segments[i].end : p->length;
        for (*number = segments[i].first / PIECE_BYTES; *number * PIECE_BYTES < end && looked++ < PIECES_LOOKED;
             ++*number) {
            if (rq->env->warm != NULL && warm_maybe(rq->env->warm, piece_digest(rq->object, p->edition, *number)))
                continue;
            object_t *held = slices_held(rq, rq->object, *number);
            object_unref(held);
            if (held == NULL)
                return true;
        }
    }
    return false;
}

/* The first bytes themselves: false: they are on their way, or will not come. */
static bool pieces_begin(request_pieces_t *p, uint64_t first, pieces_sure_t *sure)
{
    request_t *rq = p->rq;
    rq->cursor.at = first;
    pieces_sent(rq);
    const piece_slot_t *s = pieces_slot(p, first / PIECE_BYTES);
    bool lost = s != NULL && s->state == PIECE_LOST;
    if (!lost)
        pieces_wait(p, s);
    *sure = !lost ? PIECES_WAIT : p->gone ? PIECES_GONE : p->away != UPSTREAM_OK ? PIECES_AWAY : PIECES_SURE;
    return s != NULL && s->state == PIECE_HERE;
}

pieces_sure_t pieces_sure(request_t *rq, const request_segment_t *segments, size_t n, upstream_result_t *away)
{
    request_pieces_t *p = pieces_of(rq);
    piece_slot_t *s = &p->asks;
    pieces_sure_t sure;
    size_t i = 0;
    while (i < n && segments[i].text.n > 0)
        i++;
    if (p->sure || i == n || revalidate_strong(object_fields(rq->object)).p == NULL)
        return PIECES_SURE;
    if (!pieces_begin(p, segments[i].first, &sure)) {
        *away = p->away;
        return sure;
    }
    if (s->reader.fetch == NULL) {
        bool mine = false;
        fetch_t *f = pieces_missing(p, segments, n, &s->number) ? slices_fetch(rq, rq->object, s->number, &mine) : NULL;
        p->sure = f == NULL || !fetch_attach_pieces(f, &s->reader, pieces_woken);
        s->rq = rq;
        if (mine)
            fetch_run(f);
        fetch_unref(f);
        if (p->sure)
            return PIECES_SURE;
    }
    fetch_t *f = s->reader.fetch;
    fetch_wait(&s->reader, rq->env->loop);
    if (fetch_phase(f) == FETCH_WAITING)
        return PIECES_WAIT;
    bool gone = fetch_phase(f) == FETCH_FAILED && fetch_disowned(f);
    fetch_detach(&s->reader);
    p->sure = true;
    return gone ? PIECES_GONE : PIECES_SURE;
}

bool pieces_lost(request_t *rq)
{
    request_pieces_t *p = pieces_of(rq);
    for (size_t i = 0; i < PIECES_SLOTS; i++)
        if (p->slot[i].state == PIECE_LOST && p->slot[i].number == rq->cursor.at / PIECE_BYTES)
            return true;
    return false;
}

bool pieces_there(const request_t *rq, const object_t *head)
{
    uint64_t length = (uint64_t)object_length(head), edition = piece_edition_of(head);
    uint64_t n = (length + PIECE_BYTES - 1) / PIECE_BYTES;
    if (revalidate_strong(object_fields(head)).p != NULL)
        return true;
    bool there = rq->env->warm != NULL;
    for (uint64_t i = 0; there && i < n && i < PIECES_LOOKED; i++)
        there = warm_maybe(rq->env->warm, piece_digest(head, edition, i));
    return there;
}

void pieces_close(request_t *rq)
{
    request_pieces_t *p = rq->pieces;
    if (p == NULL)
        return;
    loop_timer_stop(rq->env->loop, &p->retry);
    for (size_t i = 0; i < PIECES_SLOTS; i++)
        pieces_drop(&p->slot[i]);
    fetch_detach(&p->asks.reader);
    free(p);
    rq->pieces = NULL;
}
