/* Short texts put together on the path of a hit, where printf would be felt. What doesn't fit is left out (text_fits
 * tells). */
#ifndef BRINK_BASE_TEXT_H
#define BRINK_BASE_TEXT_H

#include "edge/base/arena.h"

typedef struct text {
    char *p;
    size_t n, room;
    bool over;
} text_t;

/* Room for `most` bytes from the arena; none when that is exhausted. */
static inline text_t text_in(arena_t *a, size_t most)
{
    char *p = arena_alloc(a, most);
    return (text_t){.p = p, .room = p != NULL ? most : 0};
}
static inline void text_add(text_t *t, span_t s)
{
    if (s.n > t->room - t->n) {
        t->over = true;
        return;
    }
    if (s.n > 0)
        memcpy(t->p + t->n, s.p, s.n);
    t->n += s.n;
}
static inline void text_number(text_t *t, int64_t value)
{
    char digits[20];
    size_t i = sizeof digits;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[--i] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        text_add(t, SPAN("-"));
    text_add(t, span_of(digits + i, sizeof digits - i));
}
static inline bool text_fits(const text_t *t)
{
    return !t->over;
}
static inline span_t text_span(const text_t *t)
{
    return span_of(t->p, t->n);
}

#endif
