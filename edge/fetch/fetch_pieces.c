/* A response that is too large for memory goes to disk while it is served: what arrives is cut into pieces
 * (edge/store/piece.h), each handed to the disk as soon as it is whole, and its head is stored when the last one is.
 *
 * The cutter is a reader of the body like its clients: it holds the window back, so there are never more bytes in
 * memory than the window, one piece, and what the disk's queue takes. Where that queue is full it waits, and with it
 * the upstream; a disk that doesn't take one piece in FETCH_PIECES_PATIENCE is given up, and the response streams
 * through.
 *
 * Nothing is found without the head: a body that was cut, or a process that was killed, leaves bytes that nobody asks
 * for and that go with their segment. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/revalidate.h"
#include "edge/store/piece.h"
#include "edge/tbl/metrics.h"

enum {
    FETCH_PIECES_RETRY = 5,                     /* ms between two tries where the disk's queue is full */
    FETCH_PIECES_PATIENCE = 2 * MSEC_PER_SEC,   /* then the response isn't stored */
    FETCH_PIECES_HEAD = FIELDS_MAX_BYTES + 4096 /* of a piece beside its bytes: key, tags */
};

struct fetch_pieces {
    fetch_t *f;
    fetch_reader_t reader; /* keeps the fetch */
    body_cursor_t at;
    uint64_t edition, next; /* number of the piece that comes next */
    uint64_t base;          /* place of the body's first byte within the whole */
    uint64_t length;        /* of the whole; UINT64_MAX: not known yet */
    bool headless;          /* the head is stored already */
    bool deaf;              /* the disk was given up: for those who wait alone */
    object_t *last;         /* that was given to the disk: when it is there, all are */
    object_t *ready;        /* waits for the disk, */
    msec_t since;           /* since then (boot) */
    loop_timer_t again;
    list_t link; /* in deps->cutting */
};

static void fetch_pieces_again(loop_timer_t *t);

static void fetch_pieces_never(notice_waiter_t *w)
{
    (void)w;
}

static fetch_pieces_t *fetch_pieces_new(fetch_t *f)
{
    fetch_pieces_t *p = mem_zalloc(sizeof *p);
    if (!fetch_attach(f, &p->reader, fetch_pieces_never)) {
        free(p);
        return NULL;
    }
    p->f = f;
    p->again.run = fetch_pieces_again;
    list_push_back(&f->deps->cutting, &p->link);
    return f->pieces = p;
}

void fetch_pieces_begin(fetch_t *f)
{
    const object_t *o = f->response.object;
    int64_t length = object_meta(o).content_length;
    span_t validator = revalidate_strong(object_fields(o));
    fetch_pieces_t *p = fetch_pieces_new(f);
    if (p == NULL)
        return;
    uint64_t once = (uint64_t)f->started_nanos;
    p->length = length >= 0 ? (uint64_t)length : UINT64_MAX;
    p->edition =
        validator.p != NULL && length >= 0
            ? piece_edition(object_variant(o), validator, p->length)
            : piece_edition(object_variant(o), span_of((const char *)&once, sizeof once), (uint64_t)(uintptr_t)f);
}

void fetch_pieces_begin_at(fetch_t *f, const object_t *head, uint64_t place)
{
    fetch_pieces_t *p = fetch_pieces_new(f);
    if (p == NULL)
        return;
    p->headless = true;
    p->base = place;
    p->length = (uint64_t)object_length(head);
    p->edition = piece_edition_of(head);
    p->next = (place + PIECE_BYTES - 1) / PIECE_BYTES;
}

void fetch_pieces_stop(fetch_t *f)
{
    fetch_pieces_t *p = f->pieces;
    if (p == NULL)
        return;
    f->pieces = NULL;
    loop_timer_stop(f->deps->loop, &p->again);
    list_remove(&p->link);
    object_unref(p->ready);
    object_unref(p->last);
    atomic_store_explicit(&f->slice.over, true, memory_order_release);
    notice_wake(&f->notice);
    if (f->ended)
        fetch_settle(f);
    fetch_detach(&p->reader); /* may be the last reference to the fetch */
    free(p);
}

/* For those who wait for it. */
static void fetch_pieces_show(fetch_t *f, object_t *piece, uint64_t number)
{
    uint64_t first = f->spec.slice.first / PIECE_BYTES;
    if (fetch_pieces_of(f) == NULL || number < first || number - first >= FETCH_SLICE_PIECES ||
        number * PIECE_BYTES > f->spec.slice.last)
        return;
    atomic_store_explicit(&f->slice.piece[number - first], object_ref(piece), memory_order_release);
    notice_wake(&f->notice);
}

object_t *fetch_piece(const fetch_t *f, uint64_t number)
{
    uint64_t at = number - f->spec.slice.first / PIECE_BYTES;
    object_t *o = at < FETCH_SLICE_PIECES ? atomic_load_explicit(&f->slice.piece[at], memory_order_acquire) : NULL;
    return o != NULL ? object_ref(o) : NULL;
}

bool fetch_pieces_over(const fetch_t *f)
{
    return atomic_load_explicit(&f->slice.over, memory_order_acquire);
}

/* The next piece, if its bytes have all come. Counted until it is on disk. False: not yet; `*full`: for want of room.
 */
static bool fetch_pieces_cut(fetch_pieces_t *p, bool *full)
{
    enum { IOV = 16 };
    fetch_t *f = p->f;
    const body_t *from = object_body(f->response.object);
    bool complete = body_state(from) == BODY_COMPLETE;
    uint64_t first = p->next * PIECE_BYTES - p->base, came = body_length(from); /* the piece's place in the body */
    if (first >= came) {
        p->at.at = came; /* the end of a piece whose beginning wasn't asked for */
        return false;
    }
    uint64_t left = came - first, size = p->length != UINT64_MAX ? piece_size(p->length, p->next) : PIECE_BYTES;
    if (left < size && (!complete || p->length != UINT64_MAX))
        return false;
    uint64_t n = left < size ? left : size, room = n + FETCH_PIECES_HEAD;
    if (!store_reserve(f->store, room)) {
        *full = true;
        return false;
    }
    body_t *body = body_new((int64_t)n);
    struct iovec v[IOV];
    uint64_t end = first + n;
    body_seek(from, &p->at, first);
    for (size_t k; (k = body_read(from, &p->at, end, v, IOV, SIZE_MAX)) > 0;)
        for (size_t i = 0; i < k; i++)
            CHECK(body_append(body, span_of(v[i].iov_base, v[i].iov_len), NULL) == ERR_OK);
    body_end(body, BODY_COMPLETE);
    p->ready = piece_new(f->response.object, p->edition, p->next, f->object_began, body);
    if (store_adopt(f->store, p->ready, room) != ERR_OK)
        store_unreserve(f->store, room);
    fetch_pieces_show(f, p->ready, p->next++);
    return true;
}

/* All pieces are on their way: now the head, behind them. */
static err_t fetch_pieces_commit(fetch_pieces_t *p)
{
    fetch_t *f = p->f;
    object_t *o = fetch_pieces_head(f, f->response.object, body_length(object_body(f->response.object)), p->edition);
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    if (ledger_stamp_check(f->deps->ledger, &o->stamp, &subject) >= MARK_STRICT) {
        metrics_add(METRIC_FILLS, LABEL_FILL_PURGED, 1);
        object_unref(o);
        return ERR_OK;
    }
    err_t e = warm_put(f->deps->warm, o);
    if (e != ERR_AGAIN) {
        bool stored = store_insert(f->store, o, 0) == ERR_OK;
        if (stored)
            fetch_parts_superseded(f, o);
        metrics_add(METRIC_FILLS, stored ? LABEL_FILL_STORED : LABEL_FILL_BUDGET, 1);
    }
    object_unref(o);
    return e;
}

object_t *fetch_pieces_head(fetch_t *f, const object_t *of, uint64_t length, uint64_t edition)
{
    stored_t meta = object_meta(of);
    if (meta.status == 206)
        meta.status = 200;
    meta.flags = (meta.flags & ~(uint32_t)(STORED_PART | STORED_PART_ALONE)) | STORED_PIECES;
    meta.part_first = 0;
    meta.content_length = (int64_t)length;
    object_t *o = object_new(&f->key, object_selecting(of), &meta, of->stamp.began, fieldblock_copy(object_fields(of)),
                             piece_head_body(edition), object_tags(of), of->tags_n);
    atomic_fetch_or(&o->flags, (uint16_t)(atomic_load(&of->flags) & OBJECT_VIA_SHIELD));
    ledger_stamp_raise(&o->stamp, (mark_t)atomic_load_explicit(&of->stamp.mark, memory_order_acquire));
    return o;
}

/* The disk takes no more now. False: nor has it for too long. */
static bool fetch_pieces_wait(fetch_pieces_t *p)
{
    loop_t *loop = p->f->deps->loop;
    if (p->since == 0)
        p->since = loop->now.boot;
    if (loop->now.boot - p->since >= FETCH_PIECES_PATIENCE)
        return false;
    loop_timer_start(loop, &p->again, FETCH_PIECES_RETRY);
    return true;
}

/* What was queued can't be found yet: whoever came now would ask for it again. */
static bool fetch_pieces_writing(const fetch_pieces_t *p)
{
    return p->last != NULL && !p->deaf && atomic_load_explicit(&p->last->disk_id, memory_order_relaxed) == 0 &&
           (atomic_load_explicit(&p->last->flags, memory_order_relaxed) & OBJECT_ON_DISK) != 0;
}

void fetch_pieces_go_on(fetch_t *f)
{
    fetch_pieces_t *p = f->pieces;
    if (p == NULL || p->again.at != 0)
        return; /* nobody to write, or it waits for the disk */
    bool full = false, over = f->deps->warm == NULL || (!p->headless && p->at.at > warm_most(f->deps->warm));
    while (!over && !full && (p->ready != NULL || fetch_pieces_cut(p, &full))) {
        err_t e = p->deaf ? ERR_OK : warm_put(f->deps->warm, p->ready);
        full = e == ERR_AGAIN;
        over = e != ERR_OK && e != ERR_EXISTS && !full;
        if (full)
            break;
        object_unref(p->last);
        p->last = p->ready;
        p->ready = NULL;
        p->since = 0;
    }
    const body_t *body = object_body(f->response.object);
    bool all = !over && !full && body_state(body) == BODY_COMPLETE;
    full = full || (all && fetch_pieces_writing(p));
    all = all && !full;
    if (all && !p->headless) {
        full = fetch_pieces_commit(p) == ERR_AGAIN;
        all = !full;
    }
    if (full && !fetch_pieces_wait(p)) {
        over = !p->headless || p->ready == NULL;
        object_unref(p->ready);
        p->ready = NULL;
        p->deaf = true;
        p->since = 0;
        if (!over)
            loop_timer_start(f->deps->loop, &p->again, 0);
    }
    if (over)
        metrics_add(METRIC_FILLS, LABEL_FILL_BUDGET, 1);
    if (all || over)
        fetch_pieces_stop(f);
    else
        fetch_consumed(&p->reader, p->at.at);
}

static void fetch_pieces_again(loop_timer_t *t)
{
    fetch_t *f = fetch_ref(CONTAINER_OF(t, fetch_pieces_t, again)->f);
    fetch_pieces_go_on(f);
    if (!f->ended && f->paused && !fetch_window_full(f))
        fetch_fsm_resume(f);
    fetch_unref(f);
}

void fetch_pieces_end(fetch_t *f, bool whole)
{
    if (whole) {
        fetch_pieces_go_on(f);
        return;
    }
    metrics_add(METRIC_FILLS, LABEL_FILL_CUT, 1);
    fetch_pieces_stop(f);
}

void fetch_pieces_abandon(fetch_deps_t *d)
{
    while (!list_empty(&d->cutting))
        fetch_pieces_stop(CONTAINER_OF(d->cutting.next, fetch_pieces_t, link)->f);
}
