#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"

Test(mem, never_null)
{
    void *p = mem_alloc(0), *q = mem_zalloc(0), *r = mem_realloc(NULL, 0);
    cr_expect(p != NULL && q != NULL && r != NULL);
    free(p);
    free(q);
    free(r);
}

Test(mem, zalloc_and_dup)
{
    char *z = mem_zalloc(100), *d = mem_dup("abc", 2), *e = mem_dup(NULL, 0);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(z[i], 0);
    cr_expect_str_eq(d, "ab");
    cr_expect_str_eq(e, "");
    z = mem_realloc(z, 10000);
    cr_expect_eq(z[99], 0);
    free(z);
    free(d);
    free(e);
}
