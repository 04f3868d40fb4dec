/* Filters never deny what was added, and are seldom wrong about the rest. */
#include <criterion/criterion.h>

#include "edge/warm/filter.h"
#include "tests/unit/edge/store/make.h"

static void fill(filter_set_t *s, uint64_t n)
{
    filter_set_init(s);
    for (uint64_t i = 0; i < n; i++) {
        if (filter_set_full(s))
            free((void *)filter_set_swap(s, filter_set_grown(s)));
        filter_set_add(s, make_digest(i));
    }
}

Test(filter, a_set_is_exact_and_grows)
{
    filter_set_t s;
    fill(&s, 20000);
    cr_assert_eq(s.count, 20000);
    filter_set_add(&s, make_digest(5));
    cr_assert_eq(s.count, 20000, "twice is once");
    for (uint64_t i = 0; i < 40000; i++)
        cr_assert_eq(filter_set_maybe(&s, make_digest(i)), i < 20000);
    filter_set_release(&s);
}

Test(filter, a_bloom_filter_is_wrong_less_than_once_in_a_hundred)
{
    static const uint64_t sizes[] = {1, 10, 1000, 20000};
    for (size_t k = 0; k < 4; k++) {
        filter_set_t s;
        fill(&s, sizes[k]);
        filter_bloom_t b = filter_bloom_make(&s), c = filter_bloom_load(filter_bloom_bytes(&b));
        unsigned wrong = 0;
        for (uint64_t i = 0; i < sizes[k]; i++)
            cr_assert(filter_bloom_maybe(&b, make_digest(i)) && filter_bloom_maybe(&c, make_digest(i)));
        for (uint64_t i = 0; i < 100000; i++)
            wrong += filter_bloom_maybe(&c, make_digest(i + 1000000));
        cr_assert_lt(wrong, 1000, "%u of 100000 with %llu", wrong, (unsigned long long)sizes[k]);
        cr_assert_leq(b.n * 64, sizes[k] * 3 / 2 + 64, "1.5 bytes an object");
        filter_bloom_release(&b);
        filter_bloom_release(&c);
        filter_set_release(&s);
    }
}

Test(filter, bytes_that_can_not_be_a_filter_are_none)
{
    char junk[100] = {0};
    cr_assert_eq(filter_bloom_load(span_of(junk, 0)).n, 0);
    cr_assert_eq(filter_bloom_load(span_of(junk, 63)).n, 0);
    cr_assert_eq(filter_bloom_load(span_of(junk, 65)).n, 0);
}
