/* Three caches a thread: chunks of pools, socket buffers, HTTP/2 write buffers. They are emptied by taking out what is
 * in them. */
#include "edge/serve/library_caches.h"

#include <stdlib.h>

enum { POOL_CHUNKS = 17, POOL_PIECE = 1008, PIECES_A_CHUNK = 4 }; /* the library keeps at most 16 chunks */

static _Thread_local h2o_buffer_prototype_t *library_caches_writes;

void library_caches_learn(h2o_buffer_t *fresh)
{
    if (fresh->bytes == NULL) /* still the prototype's own empty buffer */
        library_caches_writes = H2O_STRUCT_FROM_MEMBER(h2o_buffer_prototype_t, _initial_buf, fresh);
}

static void library_caches_empty(h2o_mem_recycle_t *cache)
{
    while (cache->cnt > 0)
        free(h2o_mem_alloc_recycle(cache, 0));
}

void library_caches_release(void)
{
    library_caches_empty(&h2o_socket_buffer_prototype.allocator);
    if (library_caches_writes != NULL)
        library_caches_empty(&library_caches_writes->allocator);
    library_caches_writes = NULL;
    h2o_mem_pool_t pool;
    h2o_mem_init_pool(&pool);
    for (int i = 0; i < POOL_CHUNKS * PIECES_A_CHUNK; i++)
        h2o_mem_alloc_pool(&pool, POOL_PIECE);
    /* A chunk begins with the pointer to the next: freed by hand, since clearing the pool would fill the cache again.
     */
    for (void *chunk = pool.chunks; chunk != NULL;) {
        void *next = *(void **)chunk;
        free(chunk);
        chunk = next;
    }
}
