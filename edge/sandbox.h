/* What the kernel refuses a node, so that whoever gets code to run in it gets less: system calls that it never makes
 * (seccomp(2)), and memory that becomes executable (PR_SET_MDWE of prctl(2), since Linux 6.3). For good, and inherited
 * by threads and programs that are started later; nothing is gained by exec either (no_new_privs). */
#ifndef BRINK_SANDBOX_H
#define BRINK_SANDBOX_H

#include <stddef.h>

#include "edge/base/err.h"

typedef enum sandbox_level {
    SANDBOX_PROCESS, /* the thread that takes signals: it may start a new binary (SIGUSR2) */
    SANDBOX_THREADS  /* everything that sees what came from outside: it may start nothing at all */
} sandbox_level_t;

/* For the calling thread and those that it starts from now on; a second call adds to the first. What is refused fails
 * with EPERM (clone3 with ENOSYS: the C library then uses clone). ERR_REFUSED, `err` says why: this kernel can't. */
err_t sandbox_enter(sandbox_level_t level, char *err, size_t err_size);

#endif
