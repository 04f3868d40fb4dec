/* What tests/sim/world.c asks of Criterion, for a world in a plain program: a check that fails ends it. */
#ifndef BRINK_TESTS_CONFORM_CRITERION_H
#define BRINK_TESTS_CONFORM_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

#define PLAIN_CHECK(ok, ...)                                                                                           \
    do {                                                                                                               \
        if (!(ok)) {                                                                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok);                                                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define cr_assert(ok, ...) PLAIN_CHECK(ok)
#define cr_expect(ok, ...) PLAIN_CHECK(ok)
#define cr_assert_not_null(p, ...) PLAIN_CHECK((p) != NULL)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK((a) == (b))
#define cr_expect_eq(a, b, ...) PLAIN_CHECK((a) == (b))
#define cr_assert_lt(a, b, ...) PLAIN_CHECK((a) < (b))
#define cr_assert_gt(a, b, ...) PLAIN_CHECK((a) > (b))

#endif
