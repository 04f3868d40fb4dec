/* Blocks double up to 64 KiB; what is larger gets a block of its own. */
#include "edge/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/mem.h"

enum { ARENA_FIRST = 1024, ARENA_BLOCK_MAX = 65536 };

struct arena_block {
    struct arena_block *next;
    size_t at, size;
    alignas(max_align_t) char bytes[];
};

void arena_init(arena_t *a, size_t ceiling)
{
    *a = (arena_t){.ceiling = ceiling};
}

void arena_release(arena_t *a)
{
    while (a->head != NULL) {
        struct arena_block *b = a->head;
        a->head = b->next;
        free(b);
    }
    a->used = 0;
}

void *arena_alloc(arena_t *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > SIZE_MAX - align || (a->ceiling != 0 && n > a->ceiling - (a->used < a->ceiling ? a->used : a->ceiling)))
        return NULL;
    n = (n + align - 1) & ~(align - 1);
    struct arena_block *b = a->head;
    if (b == NULL || b->size - b->at < n) {
        size_t size = b != NULL && b->size * 2 <= ARENA_BLOCK_MAX ? b->size * 2
                      : b != NULL                                 ? ARENA_BLOCK_MAX
                                                                  : ARENA_FIRST;
        if (size < n)
            size = n;
        b = mem_alloc(sizeof *b + size);
        b->next = a->head;
        b->at = 0;
        b->size = size;
        a->head = b;
    }
    void *p = b->bytes + b->at;
    b->at += n;
    a->used += n;
    return p;
}

void *arena_zalloc(arena_t *a, size_t n)
{
    void *p = arena_alloc(a, n);
    return p != NULL ? memset(p, 0, n) : NULL;
}

span_t arena_copy(arena_t *a, span_t s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return SPAN_NONE;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return span_of(p, s.n);
}

span_t arena_printf(arena_t *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
    if (p != NULL)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p != NULL ? span_of(p, (size_t)n) : SPAN_NONE;
}
