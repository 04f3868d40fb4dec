/* Faults inside LMDB, turned into answers. LMDB maps the file that it writes: when the file can't be read there, or is
 * not what LMDB wrote, the thread gets a SIGBUS or SIGSEGV, or LMDB fails an assertion. Only the writer thread ever
 * calls LMDB, and only on the segment that is open.
 *
 * Where a fault can't be answered (outside of GUARD: memory that was overwritten earlier) the process ends as it would
 * have anyway, but leaves a mark that names the open segment, and the next start leaves that one out. */
#ifndef BRINK_WARM_GUARD_H
#define BRINK_WARM_GUARD_H

#include <lmdb.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

enum { GUARD_FAULT = -39999 /* beside LMDB's own codes */ };

typedef struct guard {
    sigjmp_buf back;
    struct guard *outer;
} guard_t;

extern _Thread_local guard_t *guard_top;

/* rc = what the call returns, or GUARD_FAULT: then nothing may be done with that environment any more, not even closing
 * it. */
#define GUARD(rc, call)                                                                                                \
    do {                                                                                                               \
        guard_t guard_here;                                                                                            \
        guard_here.outer = guard_top;                                                                                  \
        if (sigsetjmp(guard_here.back, 0) == 0) {                                                                      \
            guard_top = &guard_here;                                                                                   \
            (rc) = (call);                                                                                             \
        } else {                                                                                                       \
            (rc) = GUARD_FAULT;                                                                                        \
        }                                                                                                              \
        guard_top = guard_here.outer;                                                                                  \
    } while (0)

/* Installs the handlers, once in a process; faults of others go where they went before. */
void guard_install(void);
/* For mdb_env_set_assert. */
void guard_assert(MDB_env *env, const char *what);
/* Keeps an environment that must not be touched, so that nothing points into freed memory. */
void guard_bury(MDB_env *env);

/* The file that a dying process writes, and the segment that it names; directory NULL: none (any more). One in a
 * process; called by the writer. */
void guard_mark(const char *directory, uint64_t segment);
/* What a process left in the directory: true, and the segment; the mark is removed. */
bool guard_take_mark(const char *directory, uint64_t *segment);

#endif
