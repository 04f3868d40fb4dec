/* A short list of released blocks, the oldest first. The closest in size is taken, if it is at least half and at most
 * twice as large: realloc moves no bytes of a mapped block, it only maps or unmaps what differs. Under sanitizers
 * nothing is kept, since they look for the use of what was freed. */
#include "edge/base/block.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BLOCK_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define BLOCK_KEEPS 0
#endif
#endif
#ifndef BLOCK_KEEPS
#define BLOCK_KEEPS 1
#endif

typedef struct block {
    void *p;
    size_t n;
} block_t;

static struct {
    pthread_mutex_t mutex;
    size_t n, bytes;
    block_t v[BLOCK_KEPT];
} block_list = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Under the mutex. */
static block_t block_take(size_t i)
{
    block_t b = block_list.v[i];
    block_list.n--;
    block_list.bytes -= b.n;
    memmove(&block_list.v[i], &block_list.v[i + 1], (block_list.n - i) * sizeof b);
    return b;
}

static size_t block_distance(size_t a, size_t b)
{
    return a > b ? a - b : b - a;
}

void *block_alloc(size_t n)
{
    if (!BLOCK_KEEPS || n < BLOCK_LARGE)
        return mem_alloc(n);
    block_t b = {0};
    pthread_mutex_lock(&block_list.mutex);
    size_t best = block_list.n;
    for (size_t i = block_list.n; i-- > 0;) { /* the youngest of equals: it may still be in the processor's cache */
        size_t has = block_list.v[i].n;
        if (has >= n / 2 && has / 2 <= n &&
            (best == block_list.n || block_distance(has, n) < block_distance(block_list.v[best].n, n)))
            best = i;
    }
    if (best < block_list.n)
        b = block_take(best);
    pthread_mutex_unlock(&block_list.mutex);
    return b.n == n ? b.p : mem_realloc(b.p, n);
}

void block_free(void *p, size_t n)
{
    block_t gone[BLOCK_KEPT];
    size_t gone_n = 0;
    if (!BLOCK_KEEPS || p == NULL || n < BLOCK_LARGE || n > BLOCK_KEPT_BYTES) {
        free(p);
        return;
    }
    pthread_mutex_lock(&block_list.mutex);
    while (block_list.n == BLOCK_KEPT || block_list.bytes + n > BLOCK_KEPT_BYTES)
        gone[gone_n++] = block_take(0);
    block_list.v[block_list.n++] = (block_t){p, n};
    block_list.bytes += n;
    pthread_mutex_unlock(&block_list.mutex);
    while (gone_n > 0)
        free(gone[--gone_n].p);
}

size_t block_kept(void)
{
    pthread_mutex_lock(&block_list.mutex);
    size_t bytes = block_list.bytes;
    pthread_mutex_unlock(&block_list.mutex);
    return bytes;
}
