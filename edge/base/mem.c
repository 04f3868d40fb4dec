/* malloc with the check in one place. */
#include "edge/base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"

void *mem_alloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    CHECK(p != NULL);
    return p;
}

void *mem_zalloc(size_t n)
{
    void *p = calloc(1, n > 0 ? n : 1);
    CHECK(p != NULL);
    return p;
}

void *mem_realloc(void *p, size_t n)
{
    void *q = realloc(p, n > 0 ? n : 1);
    CHECK(q != NULL);
    return q;
}

char *mem_dup(const char *p, size_t n)
{
    char *q = mem_alloc(n + 1);
    if (n > 0)
        memcpy(q, p, n);
    q[n] = '\0';
    return q;
}
