/* What the purge ledger has said, since they were written, about the records of one segment: a mark for each number,
 * and the position that all of them were checked up to. Kept beside the segment's file, which is never changed.
 *
 * Threads: the owner's lock. Files: what is damaged, or another ledger's, counts as not there; then nothing was
 * checked, which is safe. */
#ifndef BRINK_WARM_MARKS_H
#define BRINK_WARM_MARKS_H

#include "edge/base/err.h"
#include "edge/base/hash.h"

typedef struct marks {
    uint64_t swept; /* position; 0: nothing was checked */
    uint64_t n;     /* records from the first on that have a mark here; later ones have none */
    uint8_t *bits;  /* two for each */
} marks_t;

static inline uint32_t marks_of(const marks_t *m, uint64_t at)
{
    return at < m->n ? m->bits[at / 4] >> at % 4 * 2 & 3 : 0;
}
/* Marks only grow. */
void marks_raise(marks_t *m, uint64_t at, uint32_t mark);
void marks_copy(marks_t *to, const marks_t *from); /* `to` is empty */
void marks_release(marks_t *m);

/* ERR_NOT_FOUND, ERR_CORRUPT: `out` is empty. */
err_t marks_load(const char *path, uint64_t epoch, marks_t *out);
/* Durable when it returns ERR_OK; else what was there before still is. ERR_IO with errno. */
err_t marks_store(const char *path, uint64_t epoch, const marks_t *m);

#endif
