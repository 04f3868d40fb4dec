/* Intrusive doubly linked ring. An anchor or an unlinked node points to itself. Not thread-safe. */
#ifndef BRINK_BASE_LIST_H
#define BRINK_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/base/check.h"

typedef struct list {
    struct list *next, *prev;
} list_t;

static inline void list_init(list_t *l)
{
    l->next = l->prev = l;
}
static inline bool list_empty(const list_t *l)
{
    return l->next == l;
}
static inline void list_push_back(list_t *anchor, list_t *node)
{
    node->prev = anchor->prev;
    node->next = anchor;
    anchor->prev->next = node;
    anchor->prev = node;
}
static inline void list_push_front(list_t *anchor, list_t *node)
{
    list_push_back(anchor->next, node);
}
static inline void list_remove(list_t *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
static inline list_t *list_pop_front(list_t *anchor)
{
    list_t *node = anchor->next;
    if (node == anchor)
        return NULL;
    list_remove(node);
    return node;
}
/* Moves everything from src to the (empty, initialised) dst. */
static inline void list_take(list_t *dst, list_t *src)
{
    if (list_empty(src))
        return;
    dst->next = src->next;
    dst->prev = src->prev;
    dst->next->prev = dst;
    dst->prev->next = dst;
    list_init(src);
}
#define LIST_ITEM(node, type, member) CONTAINER_OF(node, type, member)

#endif
