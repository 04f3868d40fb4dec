/* A broken invariant ends the program, in every build. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stddef.h>

#include "edge/base/check.h"

Test(check, holds)
{
    CHECK(1 + 1 == 2);
}

Test(check, broken, .signal = SIGABRT)
{
    CHECK(1 + 1 == 3);
}

Test(check, container_of)
{
    struct outer {
        int a;
        struct inner {
            int b;
        } in;
    } o = {1, {2}};
    cr_expect_eq(CONTAINER_OF(&o.in, struct outer, in), &o);
}
