/* The walk that lets the purge ledger forget: every record that was last checked before the goal is asked about again,
 * segment by segment, from the oldest to the newest, in slices between the writer's batches. Files of segments are
 * never changed, so what comes out stands beside them (marks.h), and a segment counts as swept when that is durable.
 *
 * Why nothing slips through: numbers only grow, and the walk goes by number. What is written meanwhile is checked when
 * it is written, against a head that is beyond the goal; what is copied to the newest segment takes its own mark and
 * position along, and comes either from a segment that was walked or lands in front of the walk. A record that can't be
 * read can't be checked, so it is as good as erased. */
#include <errno.h>
#include <stdlib.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/policy/reuse.h"
#include "edge/warm/warm_priv.h"

enum {
    SWEEP_RECORDS = 256, /* of one slice */
    SWEEP_HEAD = 4096    /* most heads are shorter */
};

static segment_t *warm_sweep_next(const warm_lmdb_t *l, uint64_t goal)
{
    uint64_t swept;
    for (size_t i = l->n; i-- > 0;) { /* only this thread changes the list */
        segment_t *s = l->segment[i];
        (void)segment_mark(s, s->first_id, &swept);
        if (swept < goal && !atomic_load_explicit(&s->bad, memory_order_relaxed))
            return s;
    }
    return NULL;
}

void warm_sweep_forget(warm_lmdb_t *l, const segment_t *s)
{
    if (l->walk.s == s) {
        marks_release(&l->walk.marks);
        l->walk.s = NULL;
    }
}

static void warm_sweep_begin(warm_lmdb_t *l, segment_t *s, uint64_t goal)
{
    l->walk = (warm_walk_t){.s = s, .goal = goal, .id = s->first_id, .end = s->next_id};
    marks_copy(&l->walk.marks, &s->marks);
    l->walk.marks.swept = goal;
}

static uint32_t warm_sweep_ask(const warm_options_t *ask, const record_t *r, uint64_t after)
{
    uint64_t upto;
    digest_t *tags = r->tags_n > 0 ? (void *)mem_dup(r->tags, r->tags_n * sizeof *tags) : NULL; /* aligned */
    span_t uri = span_of(r->key.p + r->uri_at, r->uri_len);
    warm_subject_t s = {.uri = uri, .uri_digest = key_uri_digest(uri), .tags = tags, .tags_n = r->tags_n};
    uint32_t mark = ask->verdict(ask->verdict_arg, &s, after, &upto);
    free(tags);
    return mark;
}

/* The head of the record, in `room` for RECORD_MAX_HEAD bytes. */
static err_t warm_sweep_head(segment_reader_t *from, uint64_t id, char *room, record_t *r)
{
    size_t n;
    err_t e = segment_first(from, id, room, SWEEP_HEAD, &n);
    if (e == ERR_OK && record_parse(span_of(room, n), r) == ERR_OK)
        return ERR_OK;
    if (e == ERR_OK && n == SWEEP_HEAD)
        e = segment_first(from, id, room, RECORD_MAX_HEAD, &n);
    return e != ERR_OK ? e : record_parse(span_of(room, n), r);
}

static void warm_sweep_look(warm_walk_t *w, const warm_options_t *ask, segment_reader_t *from, char *room)
{
    record_t r;
    uint64_t swept, at = w->id - w->s->first_id;
    if (segment_mark(w->s, w->id, &swept) == MARK_HARD)
        return;
    if (warm_sweep_head(from, w->id, room, &r) != ERR_OK) {
        marks_raise(&w->marks, at, MARK_HARD);
        return;
    }
    uint64_t after = r.checked > swept ? r.checked : swept;
    if (after >= w->goal || r.mark == MARK_HARD)
        return;
    uint32_t mark = warm_sweep_ask(ask, &r, after);
    if (mark > r.mark)
        marks_raise(&w->marks, at, mark);
}

err_t warm_sweep_slice(warm_lmdb_t *l, const warm_options_t *ask, uint64_t goal)
{
    warm_walk_t *w = &l->walk;
    if (w->s == NULL) {
        segment_t *s = warm_sweep_next(l, goal);
        if (s == NULL)
            return ERR_NOT_FOUND;
        warm_sweep_begin(l, s, goal);
    }
    segment_reader_t from;
    segment_read(&from, w->s, false); /* only this thread commits, and it doesn't meanwhile */
    char *room = mem_alloc(RECORD_MAX_HEAD);
    for (unsigned i = 0; i < SWEEP_RECORDS && w->id < w->end; i++, w->id++)
        warm_sweep_look(w, ask, &from, room);
    free(room);
    if (w->id < w->end)
        return ERR_OK;
    segment_t *s = w->s;
    err_t e = segment_set_marks(s, &w->marks); /* takes or releases them */
    w->s = NULL;
    if (e != ERR_OK)
        log_warn("warm tier: what was purged can't be noted beside %s: %s", s->path, strerror(errno));
    return e;
}
