/* A response that is too large for memory goes to disk while it is served: what arrives is cut into pieces
 * (edge/store/piece.h), each handed to the disk as soon as it is whole, and its head is stored when the last one is.
 *
 * The cutter is a reader of the body like its clients: it holds the window back, so there are never more bytes in
 * memory than the window, one piece, and what the disk's queue takes. Where that queue is full it waits, and with it
 * the upstream; a disk that doesn't take one piece in FETCH_PIECES_PATIENCE is given up, and the response streams
 * through.
 *
 * Where the length is known and the validator strong, the head is stored first, and all who want any of it, the one it
 * is fetched for included, take pieces: from the disk, or, of what isn't there yet, from here, where a piece is held
 * until the disk has it. So there is one fetch however many come while it runs, and none of them holds it back. A piece
 * that is missing in the end can still be asked for (fetch_slice.c).
 *
 * Else the head is stored last, and nothing is found without it: a body that was cut, or a process that was killed,
 * leaves bytes that nobody asks for and that go with their segment. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/revalidate.h"
#include "edge/store/piece.h"
#include "edge/tbl/metrics.h"

enum {
    FETCH_PIECES_RETRY = 5,                   /* ms between two tries where the disk's queue is full */
    FETCH_PIECES_PATIENCE = 2 * MSEC_PER_SEC, /* then the response isn't stored, */
    FETCH_PIECES_REFUSED = 10 * MSEC_PER_SEC, /* and for so long no other waits for the disk */
    FETCH_PIECES_HELD = 4, /* that are held though the disk has them: somebody may just have asked it */
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
    bool many;              /* more pieces than are held at once */
    bool deaf;              /* the disk was given up: for those who wait alone */
    object_t *head;         /* else: stored in memory, and on its way to the disk; NULL: not yet */
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

/* A date may be kept from one version to the next (`cp -p`, a build that sets it), so pieces of two fetches of the
 * whole don't meet by it: what is missing later is asked for with If-Range, and the date must be right then. */
static uint64_t fetch_pieces_edition(const fetch_t *f, const object_t *o, uint64_t length)
{
    span_t validator = revalidate_strong(object_fields(o));
    uint64_t once[] = {(uint64_t)f->started_nanos, (uint64_t)(uintptr_t)f};
    bool tag = validator.p != NULL && validator.p[0] == '"' && length != UINT64_MAX;
    return piece_edition(object_variant(o), tag ? validator : span_of((const char *)once, sizeof once), length);
}

void fetch_pieces_begin(fetch_t *f)
{
    const object_t *o = f->response.object;
    int64_t length = object_meta(o).content_length;
    span_t validator = revalidate_strong(object_fields(o));
    if (f->spec.together && validator.p != NULL && length >= 0) {
        range_t all = {0, (uint64_t)length - 1};
        fetch_pieces_announce(f, (uint64_t)length, all);
        fetch_pieces_begin_at(f, all);
        f->response.whole = true;
        atomic_store_explicit(&f->windowed, true, memory_order_seq_cst); /* what was cut isn't needed any more */
        return;
    }
    fetch_pieces_t *p = fetch_pieces_new(f);
    if (p == NULL)
        return;
    p->length = length >= 0 ? (uint64_t)length : UINT64_MAX;
    p->edition = fetch_pieces_edition(f, o, p->length);
}

void fetch_pieces_begin_at(fetch_t *f, range_t bytes)
{
    const object_t *head = fetch_pieces_of(f);
    fetch_pieces_t *p = fetch_pieces_new(f);
    if (p == NULL)
        return;
    p->headless = true;
    p->base = bytes.first;
    p->length = (uint64_t)object_length(head);
    p->edition = piece_edition_of(head);
    p->next = bytes.first / PIECE_BYTES;
    p->many = bytes.last / PIECE_BYTES - p->next >= FETCH_SLICE_PIECES;
    fetch_pieces_range(f, bytes); /* all, from a server that knows no ranges */
}

void fetch_pieces_range(fetch_t *f, range_t bytes)
{
    uint64_t first = bytes.first / PIECE_BYTES;
    atomic_store_explicit(&f->slice.oldest, first, memory_order_relaxed);
    atomic_store_explicit(&f->slice.next, first, memory_order_relaxed);
    atomic_store_explicit(&f->slice.first, first, memory_order_relaxed);
    atomic_store_explicit(&f->slice.end, bytes.last / PIECE_BYTES + 1, memory_order_relaxed);
}

void fetch_pieces_announce(fetch_t *f, uint64_t whole, range_t bytes)
{
    const object_t *o = f->response.object;
    object_t *head = fetch_pieces_head(f, o, whole, fetch_pieces_edition(f, o, whole));
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(head), .tags_n = head->tags_n};
    if (ledger_stamp_check(f->deps->ledger, &head->stamp, &subject) < MARK_STRICT &&
        store_insert(f->deps->store, head, 0) == ERR_OK)
        warm_put(f->deps->warm, head);
    fetch_pieces_range(f, bytes);
    atomic_store_explicit(&f->slice.of, head, memory_order_release);
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
    object_unref(p->head);
    atomic_store_explicit(&f->slice.over, true, memory_order_release);
    notice_wake(&f->notice);
    if (f->ended)
        fetch_settle(f);
    else if (fetch_pieces_of(f) != NULL)
        fetch_close(f);       /* nobody takes its bytes any more */
    fetch_detach(&p->reader); /* may be the last reference to the fetch */
    free(p);
}

/* Neither is it on disk yet, nor has that given it up. */
static bool fetch_pieces_writes(const object_t *o)
{
    return atomic_load_explicit(&o->disk_id, memory_order_relaxed) == 0 &&
           (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_ON_DISK) != 0;
}

/* Beyond so many, those that the disk has are let go of. False: there is no place for one more. */
static bool fetch_pieces_let_go(fetch_pieces_t *p, uint64_t held)
{
    fetch_t *f = p->f;
    uint64_t oldest = atomic_load_explicit(&f->slice.oldest, memory_order_relaxed);
    while (p->next - oldest > held && !fetch_pieces_writes(f->slice.piece[oldest % FETCH_SLICE_PIECES])) {
        pthread_mutex_lock(&f->mutex);
        object_t *gone = f->slice.piece[oldest % FETCH_SLICE_PIECES];
        f->slice.piece[oldest % FETCH_SLICE_PIECES] = NULL;
        atomic_store_explicit(&f->slice.oldest, ++oldest, memory_order_release);
        pthread_mutex_unlock(&f->mutex);
        object_unref(gone);
    }
    return p->next - oldest < FETCH_SLICE_PIECES;
}

/* For those who wait for it. */
static void fetch_pieces_show(fetch_t *f, object_t *piece, uint64_t number)
{
    pthread_mutex_lock(&f->mutex);
    f->slice.piece[number % FETCH_SLICE_PIECES] = object_ref(piece);
    atomic_store_explicit(&f->slice.next, number + 1, memory_order_release);
    pthread_mutex_unlock(&f->mutex);
    notice_wake(&f->notice);
}

bool fetch_brings(const fetch_t *f, uint64_t number)
{
    return fetch_pieces_of(f) != NULL && number >= atomic_load_explicit(&f->slice.first, memory_order_relaxed) &&
           number < atomic_load_explicit(&f->slice.end, memory_order_relaxed) &&
           number >= atomic_load_explicit(&f->slice.oldest, memory_order_acquire) &&
           number < atomic_load_explicit(&f->slice.next, memory_order_acquire) + FETCH_SLICE_PIECES;
}

bool fetch_piece_passed(const fetch_t *f, uint64_t number)
{
    return number < atomic_load_explicit(&f->slice.oldest, memory_order_acquire);
}

object_t *fetch_piece(fetch_t *f, uint64_t number)
{
    pthread_mutex_lock(&f->mutex);
    bool held = number >= atomic_load_explicit(&f->slice.oldest, memory_order_relaxed) &&
                number < atomic_load_explicit(&f->slice.next, memory_order_relaxed);
    object_t *o = held ? object_ref(f->slice.piece[number % FETCH_SLICE_PIECES]) : NULL;
    pthread_mutex_unlock(&f->mutex);
    return o;
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
    bool shown = fetch_pieces_of(f) != NULL;
    if (shown && !fetch_pieces_let_go(p, p->many ? FETCH_PIECES_HELD - 1 : FETCH_SLICE_PIECES)) {
        *full = true;
        return false;
    }
    uint64_t n = left < size ? left : size, room = n + FETCH_PIECES_HEAD;
    /* where memory is short, who has not got a piece yet reads it from disk */
    if (!store_reserve(f->store, room) && !(shown && fetch_pieces_let_go(p, 0) && store_reserve(f->store, room))) {
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
    if (shown)
        fetch_pieces_show(f, p->ready, p->next);
    p->next++;
    return true;
}

/* All pieces are on disk: now the head, behind them. In memory first: the disk forgets what it takes the place of. */
static err_t fetch_pieces_commit(fetch_pieces_t *p)
{
    fetch_t *f = p->f;
    if (p->head != NULL)
        return warm_put(f->deps->warm, p->head);
    object_t *o = fetch_pieces_head(f, f->response.object, body_length(object_body(f->response.object)), p->edition);
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    if (ledger_stamp_check(f->deps->ledger, &o->stamp, &subject) >= MARK_STRICT) {
        metrics_add(METRIC_FILLS, LABEL_FILL_PURGED, 1);
        object_unref(o);
        return ERR_OK;
    }
    bool stored = store_insert(f->store, o, 0) == ERR_OK;
    if (stored)
        fetch_parts_superseded(f, o);
    metrics_add(METRIC_FILLS, stored ? LABEL_FILL_STORED : LABEL_FILL_BUDGET, 1);
    p->head = o;
    return warm_put(f->deps->warm, o);
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
    fetch_deps_t *d = p->f->deps;
    msec_t now = d->loop->now.boot;
    if (p->since == 0)
        p->since = now;
    bool refuses = d->disk_refused != 0 && now - d->disk_refused < FETCH_PIECES_REFUSED;
    if (now - p->since >= (refuses ? FETCH_PIECES_RETRY : FETCH_PIECES_PATIENCE)) {
        if (p->ready != NULL && !refuses)
            d->disk_refused = now;
        return false;
    }
    loop_timer_start(d->loop, &p->again, FETCH_PIECES_RETRY);
    return true;
}

/* What was queued can't be found yet: whoever came now would ask for it again. */
static bool fetch_pieces_writing(const fetch_pieces_t *p)
{
    return p->last != NULL && !p->deaf && fetch_pieces_writes(p->last);
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
    bool crowded = full && p->ready == NULL; /* for want of memory, not of disk */
    const body_t *body = object_body(f->response.object);
    bool all = !over && !full && body_state(body) == BODY_COMPLETE;
    full = full || (all && fetch_pieces_writing(p));
    all = all && !full;
    if (all && !p->headless) {
        full = fetch_pieces_commit(p) == ERR_AGAIN;
        all = !full;
    }
    if (full && !fetch_pieces_wait(p)) {
        if (p->headless && crowded) /* the next one gets the whole, and isn't cut here again */
            store_remove(f->store, fetch_pieces_of(f));
        over = !p->headless || p->many || p->ready == NULL;
        object_unref(p->ready);
        p->ready = NULL;
        p->deaf = true;
        p->since = 0;
        if (!over)
            loop_timer_start(f->deps->loop, &p->again, 0);
    }
    if (over && p->head == NULL)
        metrics_add(METRIC_FILLS, LABEL_FILL_BUDGET, 1);
    if (all && f->response.whole) {
        metrics_add(METRIC_FILLS, LABEL_FILL_STORED, 1);
        fetch_parts_superseded(f, fetch_pieces_of(f));
    }
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
