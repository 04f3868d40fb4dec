/* What comes back is known, what is new is not, and what is old is forgotten. */
#include <criterion/criterion.h>

#include "edge/store/seen.h"
#include "tests/unit/edge/store/make.h"

enum { N = 10000 };

Test(seen, the_second_time_is_told_from_the_first)
{
    seen_t *s = seen_new(N);
    unsigned wrong = 0;
    for (uint64_t n = 0; n < N - 1; n++)
        wrong += seen_before(s, make_digest(n));
    cr_assert_leq(wrong, N / 100, "%u new ones were taken for old", wrong);
    for (uint64_t n = 0; n < N - 1; n++)
        cr_assert(seen_before(s, make_digest(n)));
    seen_free(s);
}

Test(seen, a_round_of_as_many_is_remembered_whole)
{
    seen_t *s = seen_new(N);
    for (int round = 0; round < 5; round++)
        for (uint64_t n = 0; n < N; n++) {
            bool known = seen_before(s, make_digest(n));
            cr_assert(round == 0 || known, "%llu in round %d", (unsigned long long)n, round);
        }
    seen_free(s);
}

Test(seen, a_workload_that_comes_back_is_told_from_one_that_does_not)
{
    seen_t *s = seen_new(N);
    for (uint64_t n = 0; n < 3 * N; n++)
        seen_before(s, make_digest(n));
    cr_expect(!seen_mostly(s));
    for (uint64_t n = 0; n < 3 * N; n++)
        seen_before(s, make_digest(n % (N / 2)));
    cr_expect(seen_mostly(s));
    for (uint64_t n = 0; n < 3 * N; n++)
        seen_before(s, make_digest(n % 3 == 0 ? n % (N / 2) : 10 * N + n));
    cr_expect(!seen_mostly(s), "a third is not most");
    seen_free(s);
}

Test(seen, what_is_old_is_forgotten)
{
    seen_t *s = seen_new(N);
    for (uint64_t n = 0; n < 4 * N; n++)
        seen_before(s, make_digest(n));
    unsigned known = 0;
    for (uint64_t n = 0; n < N; n++)
        known += seen_before(s, make_digest(n));
    cr_assert_leq(known, N / 50, "%u", known);
    cr_assert_leq(seen_bytes(N), 5 * N);
    seen_free(s);
}
