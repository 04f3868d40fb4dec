#include <criterion/criterion.h>
#include <string.h>

#include "edge/base/err.h"

Test(err, every_error_has_its_own_words)
{
    const char *seen[14];
    for (int e = ERR_OK; e >= ERR_MALFORMED; e--) {
        seen[-e] = err_text((err_t)e);
        cr_assert_not_null(seen[-e]);
        cr_expect_gt(strlen(seen[-e]), 1, "%d", e);
        for (int other = ERR_OK; other > e; other--)
            cr_expect_str_neq(seen[-e], seen[-other], "%d and %d", e, other);
    }
    cr_expect_not_null(err_text((err_t)-99)); /* a number from elsewhere must not crash a log line */
    cr_expect_not_null(err_text((err_t)99));
}
