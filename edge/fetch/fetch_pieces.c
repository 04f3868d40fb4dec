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

void fetch_pieces_begin(fetch_t *f)
{
    const object_t *o = f->response.object;
    int64_t length = object_meta(o).content_length;
    span_t validator = revalidate_strong(object_fields(o));
    fetch_pieces_t *p = mem_zalloc(sizeof *p);
    if (!fetch_attach(f, &p->reader, fetch_pieces_never)) {
        free(p);
        return;
    }
    uint64_t once = (uint64_t)f->started_nanos;
    p->f = f;
    p->edition =
        validator.p != NULL && length >= 0
            ? piece_edition(object_variant(o), validator, (uint64_t)length)
            : piece_edition(object_variant(o), span_of((const char *)&once, sizeof once), (uint64_t)(uintptr_t)f);
    p->again.run = fetch_pieces_again;
    list_push_back(&f->deps->cutting, &p->link);
    f->pieces = p;
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
    fetch_detach(&p->reader); /* may be the last reference to the fetch */
    free(p);
}

/* The next piece, if its bytes have all come. Counted until it is on disk. False: not yet; `*full`: for want of room.
 */
static bool fetch_pieces_cut(fetch_pieces_t *p, bool *full)
{
    enum { IOV = 16 };
    fetch_t *f = p->f;
    const body_t *from = object_body(f->response.object);
    bool complete = body_state(from) == BODY_COMPLETE;
    uint64_t left = body_length(from) - p->at.at;
    if (left == 0 || (left < PIECE_BYTES && !complete))
        return false;
    uint64_t n = left < PIECE_BYTES ? left : PIECE_BYTES, room = n + FETCH_PIECES_HEAD;
    if (!store_reserve(f->store, room)) {
        *full = true;
        return false;
    }
    body_t *body = body_new((int64_t)n);
    struct iovec v[IOV];
    uint64_t end = p->at.at + n;
    for (size_t k; (k = body_read(from, &p->at, end, v, IOV, SIZE_MAX)) > 0;)
        for (size_t i = 0; i < k; i++)
            CHECK(body_append(body, span_of(v[i].iov_base, v[i].iov_len), NULL) == ERR_OK);
    body_end(body, BODY_COMPLETE);
    p->ready = piece_new(f->response.object, p->edition, p->next++, f->object_began, body);
    if (store_adopt(f->store, p->ready, room) != ERR_OK)
        store_unreserve(f->store, room);
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

void fetch_pieces_go_on(fetch_t *f)
{
    fetch_pieces_t *p = f->pieces;
    if (p == NULL || p->again.at != 0)
        return; /* nobody to write, or it waits for the disk */
    bool full = false, over = f->deps->warm == NULL || p->at.at > warm_most(f->deps->warm);
    while (!over && !full && (p->ready != NULL || fetch_pieces_cut(p, &full))) {
        err_t e = warm_put(f->deps->warm, p->ready);
        full = e == ERR_AGAIN;
        over = e != ERR_OK && e != ERR_EXISTS && !full;
        if (full)
            break;
        object_unref(p->ready);
        p->ready = NULL;
        p->since = 0;
    }
    const body_t *body = object_body(f->response.object);
    bool all = !over && !full && body_state(body) == BODY_COMPLETE && p->at.at == body_length(body);
    if (all) {
        full = fetch_pieces_commit(p) == ERR_AGAIN;
        all = !full;
    }
    if (full && !fetch_pieces_wait(p))
        over = true;
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
