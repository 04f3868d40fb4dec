/* Allocation that can't fail quietly: the node's budgets bound what is asked for, so a NULL here is a broken machine
 * and stops the program. Nothing that a peer sizes freely may be allocated without a ceiling checked before. */
#ifndef BRINK_BASE_MEM_H
#define BRINK_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t n);  /* uninitialised; free() releases */
void *mem_zalloc(size_t n); /* zeroed */
void *mem_realloc(void *p, size_t n);
char *mem_dup(const char *p, size_t n); /* copies n bytes and adds a NUL */

#endif
