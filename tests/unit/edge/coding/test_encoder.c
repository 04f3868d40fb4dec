/* What comes out can be decoded by the libraries' decoders: whole, in pieces, and after each flush. */
#include <brotli/decode.h>
#include <criterion/criterion.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "edge/base/mem.h"
#include "edge/coding/encoder.h"

enum { TEXT = 300000 };

static char *text(void)
{
    char *p = mem_alloc(TEXT + 64);
    for (size_t n = 0, i = 0; n < TEXT; i++)
        n += (size_t)sprintf(p + n, "{\"id\":%zu,\"of\":%zu},", i * 7919, i % 13);
    return p;
}

/* Decodes what there is, which need not be complete. */
static size_t decode(coding_t c, const encoded_t *in, char *out, size_t room)
{
    if (c == CODING_GZIP) {
        z_stream z = {
            .next_in = (Bytef *)in->p, .avail_in = (uInt)in->n, .next_out = (Bytef *)out, .avail_out = (uInt)room};
        cr_assert_eq(inflateInit2(&z, 31), Z_OK);
        int r = inflate(&z, Z_SYNC_FLUSH);
        cr_assert(r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR, "%d", r);
        size_t n = z.total_out;
        inflateEnd(&z);
        return n;
    }
    if (c == CODING_BR) {
        BrotliDecoderState *s = BrotliDecoderCreateInstance(NULL, NULL, NULL);
        size_t left = in->n, more = room;
        const uint8_t *from = (const uint8_t *)in->p;
        uint8_t *to = (uint8_t *)out;
        cr_assert_neq(BrotliDecoderDecompressStream(s, &left, &from, &more, &to, NULL), BROTLI_DECODER_RESULT_ERROR);
        BrotliDecoderDestroyInstance(s);
        return room - more;
    }
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ZSTD_inBuffer from = {in->p, in->n, 0};
    ZSTD_outBuffer to = {out, room, 0};
    size_t r = 1;
    while (from.pos < from.size && r != 0) {
        r = ZSTD_decompressStream(d, &to, &from);
        cr_assert(!ZSTD_isError(r));
    }
    ZSTD_freeDCtx(d);
    return to.pos;
}

Test(encoder, round_trips)
{
    char *in = text(), *out = mem_alloc(TEXT + 64);
    for (int c = CODING_ZSTD; c < CODINGS; c++)
        for (int effort = ENCODER_LIVE; effort <= ENCODER_KEPT; effort++)
            for (size_t piece = 100; piece <= 1000000; piece *= 100)
                for (int known = 0; known < 2; known++) {
                    encoded_t e = {.most = SIZE_MAX};
                    encoder_t *enc = encoder_new((coding_t)c, (encoder_effort_t)effort, known ? TEXT : -1);
                    cr_assert_not_null(enc);
                    for (size_t at = 0; at < TEXT; at += piece) {
                        size_t n = TEXT - at < piece ? TEXT - at : piece;
                        cr_assert_eq(
                            encoder_put(enc, span_of(in + at, n), at + n == TEXT ? ENCODER_FINISH : ENCODER_MORE, &e),
                            ERR_OK);
                    }
                    encoder_free(enc);
                    cr_expect_eq(decode((coding_t)c, &e, out, TEXT + 64), TEXT);
                    cr_expect_eq(memcmp(in, out, TEXT), 0);
                    cr_expect_lt(e.n, TEXT / 2);
                    free(e.p);
                }
    free(in);
    free(out);
}

Test(encoder, after_a_flush_all_can_be_read)
{
    char *in = text(), *out = mem_alloc(TEXT + 64);
    for (int c = CODING_ZSTD; c < CODINGS; c++) {
        encoded_t e = {.most = SIZE_MAX};
        encoder_t *enc = encoder_new((coding_t)c, ENCODER_LIVE, -1);
        for (size_t at = 0; at < 50000; at += 999) {
            cr_assert_eq(encoder_put(enc, span_of(in + at, 999), ENCODER_FLUSH, &e), ERR_OK);
            cr_assert_eq(decode((coding_t)c, &e, out, TEXT), at + 999, "coding %d", c);
        }
        cr_assert_eq(encoder_put(enc, SPAN_NONE, ENCODER_FLUSH, &e), ERR_OK, "with nothing to flush");
        cr_assert_eq(encoder_put(enc, SPAN_NONE, ENCODER_FINISH, &e), ERR_OK);
        encoder_free(enc);
        free(e.p);
    }
    free(in);
    free(out);
}

Test(encoder, a_body_may_be_empty_and_output_has_a_ceiling)
{
    char noise[4096];
    unsigned r = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)((r = r * 1664525 + 1013904223) >> 24);
    for (int c = CODING_ZSTD; c < CODINGS; c++) {
        char out[16];
        encoded_t e = {.most = SIZE_MAX};
        encoder_t *enc = encoder_new((coding_t)c, ENCODER_KEPT, 0);
        cr_assert_eq(encoder_put(enc, SPAN_NONE, ENCODER_FINISH, &e), ERR_OK);
        cr_expect_eq(decode((coding_t)c, &e, out, sizeof out), 0);
        encoder_free(enc);
        free(e.p);
        e = (encoded_t){.most = sizeof noise - 100};
        enc = encoder_new((coding_t)c, ENCODER_KEPT, sizeof noise);
        cr_expect_eq(encoder_put(enc, span_of(noise, sizeof noise), ENCODER_FINISH, &e), ERR_TOO_BIG);
        cr_expect_leq(e.n, e.most);
        encoder_free(enc);
        free(e.p);
    }
}

/* What is reserved of the budget for one is what it takes. */
Test(encoder, memory)
{
    char *in = text();
    for (int c = CODING_ZSTD; c < CODINGS; c++) {
        encoded_t e = {.p = mem_alloc(TEXT), .room = TEXT, .most = TEXT};
        struct mallinfo2 before = mallinfo2();
        encoder_t *enc = encoder_new((coding_t)c, ENCODER_LIVE, -1);
        cr_assert_eq(encoder_put(enc, span_of(in, TEXT), ENCODER_FLUSH, &e), ERR_OK);
        struct mallinfo2 after = mallinfo2();
        size_t took = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
        cr_expect_leq(took, encoder_bytes((coding_t)c, ENCODER_LIVE), "coding %d takes %zu", c, took);
        encoder_free(enc);
        free(e.p);
    }
    free(in);
}
