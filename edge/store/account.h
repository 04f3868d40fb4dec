/* How many bytes something that has a budget holds: charged when it takes them, released when they are really free.
 * What is no longer indexed but still being sent counts until its last reference goes, so the sum is what the process
 * holds.
 *
 * The owner's own share is one byte, so that whoever releases last (the owner or a late reader) frees the account. */
#ifndef BRINK_STORE_ACCOUNT_H
#define BRINK_STORE_ACCOUNT_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "edge/base/check.h"

typedef struct account {
    _Atomic uint64_t used;
} account_t;

static inline void account_charge(account_t *a, uint64_t n)
{
    atomic_fetch_add_explicit(&a->used, n, memory_order_relaxed);
}
static inline void account_release(account_t *a, uint64_t n)
{
    if (n == 0)
        return;
    uint64_t before = atomic_fetch_sub_explicit(&a->used, n, memory_order_acq_rel);
    CHECK(before >= n);
    if (before == n)
        free(a);
}

#endif
