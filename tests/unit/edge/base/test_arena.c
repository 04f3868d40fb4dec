/* Ceiling, alignment, and that blocks don't overlap. */
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/base/arena.h"

Test(arena, alignment_and_no_overlap)
{
    arena_t a;
    enum { N = 500 };
    unsigned char *p[N];
    size_t n[N];
    unsigned short seed[3] = {1, 2, 3};
    arena_init(&a, 0);
    for (int i = 0; i < N; i++) {
        n[i] = (size_t)(erand48(seed) * (i % 50 == 0 ? 200000 : 300));
        p[i] = arena_alloc(&a, n[i]);
        cr_assert_not_null(p[i]);
        cr_assert_eq((uintptr_t)p[i] % alignof(max_align_t), 0);
        memset(p[i], i & 255, n[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < n[i]; k++)
            cr_assert_eq(p[i][k], i & 255);
    arena_release(&a);
}

Test(arena, ceiling)
{
    arena_t a;
    arena_init(&a, 1000);
    cr_expect_null(arena_alloc(&a, 1001));
    cr_expect_null(arena_alloc(&a, SIZE_MAX));
    cr_expect_null(arena_alloc(&a, SIZE_MAX - 8));
    cr_expect_eq(a.used, 0);
    cr_assert_not_null(arena_alloc(&a, 600));
    cr_expect_null(arena_alloc(&a, 500)); /* one refusal doesn't close it */
    cr_assert_not_null(arena_alloc(&a, 100));
    while (arena_alloc(&a, 16) != NULL)
        cr_assert_leq(a.used, 1000 + alignof(max_align_t));
    cr_expect_null(arena_copy(&a, SPAN("0123456789abcdef")).p);
    cr_expect_null(arena_printf(&a, "%0200d", 1).p);
    arena_release(&a);
    cr_expect_eq(a.used, 0);
    cr_expect_not_null(arena_alloc(&a, 600)); /* usable again, with its ceiling */
    cr_expect_null(arena_alloc(&a, 600));
    arena_release(&a);
}

/* The ceiling may be passed by rounding up at most, whatever is asked for. */
Test(arena, ceiling_holds_for_any_sequence)
{
    unsigned short seed[3] = {3, 2, 1};
    for (int round = 0; round < 200; round++) {
        arena_t a;
        size_t ceiling = 1 + (size_t)(erand48(seed) * 5000), asked = 0;
        arena_init(&a, ceiling);
        for (int i = 0; i < 200; i++) {
            size_t n = (size_t)(erand48(seed) * 200);
            if (arena_alloc(&a, n) != NULL)
                asked += n;
        }
        cr_assert_leq(asked, ceiling);
        cr_assert_leq(a.used, ceiling + alignof(max_align_t));
        arena_release(&a);
    }
}

Test(arena, zalloc_copy_printf)
{
    arena_t a;
    arena_init(&a, 0);
    char *dirty = arena_alloc(&a, 512);
    memset(dirty, 0xff, 512);
    arena_release(&a);
    char *z = arena_zalloc(&a, 700);
    for (int i = 0; i < 700; i++)
        cr_assert_eq(z[i], 0);
    span_t s = arena_copy(&a, SPAN("abc"));
    cr_expect(span_eq(s, SPAN("abc")));
    cr_expect_eq(s.p[3], '\0');
    cr_expect_eq(arena_copy(&a, SPAN_NONE).n, 0);
    cr_expect_not_null(arena_copy(&a, SPAN_NONE).p);
    cr_expect(span_eq(arena_printf(&a, "%s-%d", "x", 7), SPAN("x-7")));
    cr_expect(span_eq(arena_printf(&a, "%s", ""), SPAN("")));
    arena_release(&a);
}
