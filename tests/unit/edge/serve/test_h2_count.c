/* Every representation of RFC 7541 6 is a field, whatever its strings hold. */
#include <criterion/criterion.h>

#include "edge/serve/h2_count.h"

static void counts(span_t block, size_t fields)
{
    for (size_t step = 1; step <= block.n; step++) {
        h2_count_t c = {0};
        for (size_t at = 0; at < block.n; at += step)
            h2_count_feed(&c, span_upto(span_from(block, at), step));
        cr_assert_eq(c.fields, fields, "%zu instead of %zu in steps of %zu", c.fields, fields, step);
    }
}

Test(h2_count, representations)
{
    counts(SPAN("\x82"), 1);                        /* indexed */
    counts(SPAN("\x82\x86\x84\xbe\xbe"), 5);        /* and of the table */
    counts(SPAN("\xff\x00\x82"), 2);                /* an index of two bytes */
    counts(SPAN("\x40\x01x\x02yz\x82"), 2);         /* literals: with a name */
    counts(SPAN("\x41\x03\x82\x82\x82\x82"), 2);    /* with an index; what looks like fields is a value */
    counts(SPAN("\x00\x01x\x00\x10\x01y\x01z"), 2); /* not indexed, never indexed, an empty value */
    counts(SPAN("\x0f\x2f\x01z\x82"), 2);           /* an index that goes on, and a value */
    counts(SPAN("\x0f\x00\x01z\x1f\x80\x00\x01z"), 2);
    counts(SPAN("\x20\x3f\xe1\x1f\x82"), 3);     /* size updates count */
    counts(SPAN("\x00\x81\xff\x81\xff\x82"), 2); /* Huffman */
}

Test(h2_count, long_strings)
{
    char block[400] = {0x00, 0x01, 'x', 0x7f, (char)0xc9, 0x01}; /* 127 + 73 + 128 = 328 bytes */
    memset(block + 6, (char)0x82, sizeof block - 6);
    counts(span_of(block, 6 + 328), 1);
    counts(span_of(block, 6 + 328 + 3), 4);
}

Test(h2_count, what_is_no_block_ends)
{
    char block[300];
    memset(block, (char)0xff, sizeof block);
    h2_count_t c = {0};
    h2_count_feed(&c, span_of(block, sizeof block)); /* an index without an end */
    cr_assert_eq(c.fields, 1);
    block[0] = 0x00;
    c = (h2_count_t){0};
    h2_count_feed(&c, span_of(block, sizeof block)); /* a length without an end */
    cr_assert_eq(c.fields, 1);
}
