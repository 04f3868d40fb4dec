/* Memory for bytes that come and go in large blocks: bodies on their way from disk or an upstream.
 *
 * A fresh block of a mebibyte costs the kernel 400 µs (it makes and clears 256 pages, and unmaps them afterwards),
 * twice what it takes to read and check its contents. So the last few that were released are kept, BLOCK_KEPT_BYTES at
 * most, and given out again, cut or grown to size. Small ones are malloc's.
 *
 * Threads: any. */
#ifndef BRINK_BASE_BLOCK_H
#define BRINK_BASE_BLOCK_H

#include <stddef.h>

enum {
    BLOCK_LARGE = 128 * 1024, /* kept from here on: what malloc maps by itself, so that the size changes in place */
    BLOCK_KEPT = 32,
    BLOCK_KEPT_BYTES = 8 * 1024 * 1024
};

void *block_alloc(size_t n); /* uninitialised */
/* `n` as it was asked for. NULL is fine. */
void block_free(void *p, size_t n);
size_t block_kept(void); /* bytes */

#endif
