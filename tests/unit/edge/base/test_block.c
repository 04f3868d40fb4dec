/* Large blocks that are kept and given out again: never two at once, never more than may be kept. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "edge/base/block.h"

enum { KIB = 1024, N = 64 };

Test(block, what_is_given_out_is_nobody_elses)
{
    static unsigned char *p[N];
    static size_t n[N];
    unsigned short seed[3] = {4, 5, 6};
    for (int round = 0; round < 5000; round++) {
        size_t i = (size_t)(erand48(seed) * N);
        if (p[i] != NULL) {
            cr_assert(p[i][0] == i && p[i][n[i] / 2] == i && p[i][n[i] - 1] == i, "written over");
            block_free(p[i], n[i]);
            p[i] = NULL;
        } else {
            n[i] = 1 + (size_t)(erand48(seed) * (i % 2 == 0 ? 300 * KIB : 2000 * KIB));
            p[i] = block_alloc(n[i]);
            p[i][0] = p[i][n[i] / 2] = p[i][n[i] - 1] = (unsigned char)i;
        }
        cr_assert_leq(block_kept(), BLOCK_KEPT_BYTES);
    }
    for (size_t i = 0; i < N; i++)
        block_free(p[i], n[i]);
    block_free(NULL, 1000 * KIB);
}

Test(block, what_was_released_is_used_again)
{
    void *a = block_alloc(1000 * KIB);
    block_free(a, 1000 * KIB);
    size_t kept = block_kept();
    if (kept == 0)
        return; /* a sanitizer wants to see each of them freed */
    void *b = block_alloc(1000 * KIB), *c = block_alloc(1000 * KIB);
    cr_expect(b == a && c != a && block_kept() == 0);
    block_free(b, 1000 * KIB);
    b = block_alloc(700 * KIB);
    cr_expect(b == a && block_kept() == 0, "cut to size");
    block_free(b, 700 * KIB);
    b = block_alloc(200 * KIB);
    cr_expect_eq(block_kept(), 700 * KIB, "too large to be cut");
    block_free(b, 200 * KIB);
    block_free(c, 1000 * KIB);
    void *big = block_alloc(BLOCK_KEPT_BYTES + 1);
    kept = block_kept();
    block_free(big, BLOCK_KEPT_BYTES + 1);
    cr_expect_eq(block_kept(), kept);
    void *many[BLOCK_KEPT + 8];
    for (size_t i = 0; i < BLOCK_KEPT + 8; i++)
        many[i] = block_alloc(BLOCK_LARGE);
    for (size_t i = 0; i < BLOCK_KEPT + 8; i++)
        block_free(many[i], BLOCK_LARGE);
    cr_expect_eq(block_kept(), BLOCK_KEPT * BLOCK_LARGE);
}
