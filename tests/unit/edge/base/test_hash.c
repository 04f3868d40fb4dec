#include <stdio.h>

#include <criterion/criterion.h>

#include "edge/base/hash.h"

/* What is on disk depends on these: XXH3 as published, seed 0, of the empty input. */
Test(hash, is_xxh3)
{
    digest_t d = hash_digest(SPAN(""));
    cr_expect_eq(d.hi, 0x99aa06d3014798d8ull);
    cr_expect_eq(d.lo, 0x6001c324468d497full);
    cr_expect_eq(hash_64(SPAN(""), 0), 0x2d06800538d394c2ull);
}

Test(hash, families)
{
    cr_expect(hash_eq(hash_digest(SPAN("a")), hash_digest(SPAN("a"))));
    cr_expect(hash_eq(hash_digest(SPAN("a")), hash_digest_seed(SPAN("a"), 0)));
    cr_expect(hash_eq(hash_digest(SPAN_NONE), hash_digest(SPAN(""))));
    cr_expect_not(hash_eq(hash_digest(SPAN("a")), hash_digest(SPAN("b"))));
    cr_expect_not(hash_eq(hash_digest_seed(SPAN("a"), 1), hash_digest_seed(SPAN("a"), 2)));
    cr_expect_neq(hash_64(SPAN("a"), 1), hash_64(SPAN("a"), 2));
    cr_expect_not(hash_eq((digest_t){1, 2}, (digest_t){1, 3}));
    cr_expect_not(hash_eq((digest_t){1, 2}, (digest_t){3, 2}));
}
