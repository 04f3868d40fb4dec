/* Bump allocator for what lives as long as one request or one fetch. One owner, one thread at a time; everything goes
 * at once with arena_release. */
#ifndef BRINK_BASE_ARENA_H
#define BRINK_BASE_ARENA_H

#include <stddef.h>

#include "edge/base/span.h"

struct arena_block;
typedef struct arena {
    struct arena_block *head;
    size_t used;    /* bytes handed out */
    size_t ceiling; /* arena_alloc answers NULL beyond it; 0 = none */
} arena_t;

void arena_init(arena_t *a, size_t ceiling);
void arena_release(arena_t *a);          /* leaves it empty and usable */
void *arena_alloc(arena_t *a, size_t n); /* aligned for any type, uninitialised; NULL over the ceiling */
void *arena_zalloc(arena_t *a, size_t n);
span_t arena_copy(arena_t *a, span_t s); /* with a NUL behind it; .p == NULL over the ceiling */
span_t arena_printf(arena_t *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
