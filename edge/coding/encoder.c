/* The levels were measured with 100 KB of JSON on one core (README.md): live ones cost about a millisecond or less,
 * kept ones what a hot object is worth. Windows are small for live ones, so that many fit in memory: a window beyond
 * the body gives nothing. */
#include "edge/coding/encoder.h"

#include <brotli/encode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "edge/base/mem.h"

enum {
    ENCODER_ROOM = 16 * 1024, /* output that is made room for at first */
    ENCODER_GZIP_WRAP = 16,   /* zlib: a gzip head and trailer, RFC 1952 */
    ENCODER_GZIP_MEMORY = 8,  /* zlib's default */
    ENCODER_GZIP_BYTES = 272 * 1024
};

typedef struct encoder_level {
    int level, window; /* log2 of bytes */
    size_t bytes;
} encoder_level_t;

static const encoder_level_t encoder_levels[CODINGS][2] = {
    [CODING_ZSTD] = {[ENCODER_LIVE] = {3, 17, 1792 * 1024}, [ENCODER_KEPT] = {8, 20, 10 * 1024 * 1024}},
    [CODING_BR] = {[ENCODER_LIVE] = {4, 17, 2560 * 1024}, [ENCODER_KEPT] = {6, 20, 8 * 1024 * 1024}},
    [CODING_GZIP] =
        {[ENCODER_LIVE] = {5, MAX_WBITS, ENCODER_GZIP_BYTES}, [ENCODER_KEPT] = {8, MAX_WBITS, ENCODER_GZIP_BYTES}},
};

struct encoder {
    coding_t coding;
    union {
        z_stream gzip;
        BrotliEncoderState *br;
        ZSTD_CCtx *zstd;
    };
};

size_t encoder_bytes(coding_t c, encoder_effort_t effort)
{
    return encoder_levels[c][effort].bytes;
}

static bool encoder_begin_br(encoder_t *e, const encoder_level_t *l, int64_t length)
{
    e->br = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    if (e->br == NULL)
        return false;
    BrotliEncoderSetParameter(e->br, BROTLI_PARAM_QUALITY, (uint32_t)l->level);
    BrotliEncoderSetParameter(e->br, BROTLI_PARAM_LGWIN, (uint32_t)l->window);
    if (length > 0 && length < INT32_MAX)
        BrotliEncoderSetParameter(e->br, BROTLI_PARAM_SIZE_HINT, (uint32_t)length);
    return true;
}

static bool encoder_begin_zstd(encoder_t *e, const encoder_level_t *l, int64_t length)
{
    e->zstd = ZSTD_createCCtx();
    if (e->zstd == NULL)
        return false;
    return !ZSTD_isError(ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_compressionLevel, l->level)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_windowLog, l->window)) &&
           (length < 0 || !ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(e->zstd, (unsigned long long)length)));
}

encoder_t *encoder_new(coding_t c, encoder_effort_t effort, int64_t length)
{
    const encoder_level_t *l = &encoder_levels[c][effort];
    encoder_t *e = mem_zalloc(sizeof *e);
    e->coding = c;
    bool begun = c == CODING_BR     ? encoder_begin_br(e, l, length)
                 : c == CODING_ZSTD ? encoder_begin_zstd(e, l, length)
                                    : deflateInit2(&e->gzip, l->level, Z_DEFLATED, l->window + ENCODER_GZIP_WRAP,
                                                   ENCODER_GZIP_MEMORY, Z_DEFAULT_STRATEGY) == Z_OK;
    if (begun)
        return e;
    encoder_free(e);
    return NULL;
}

void encoder_free(encoder_t *e)
{
    if (e == NULL)
        return;
    if (e->coding == CODING_BR && e->br != NULL)
        BrotliEncoderDestroyInstance(e->br);
    else if (e->coding == CODING_ZSTD)
        ZSTD_freeCCtx(e->zstd);
    else if (e->coding == CODING_GZIP)
        deflateEnd(&e->gzip);
    free(e);
}

/* Room for more output; false when it has come to its ceiling. */
static bool encoder_room(encoded_t *out)
{
    if (out->n < out->room)
        return true;
    size_t room = out->room == 0 ? ENCODER_ROOM : 2 * out->room;
    room = room < out->most ? room : out->most;
    if (room <= out->n)
        return false;
    out->p = mem_realloc(out->p, room);
    out->room = room;
    return true;
}

/* Each takes of `in` and fills what room there is; *done: nothing of what was asked for is left. */
static bool encoder_step_gzip(encoder_t *e, span_t *in, encoder_end_t end, encoded_t *out, bool *done)
{
    static const int flush[] = {
        [ENCODER_MORE] = Z_NO_FLUSH, [ENCODER_FLUSH] = Z_SYNC_FLUSH, [ENCODER_FINISH] = Z_FINISH};
    size_t take = in->n < UINT32_MAX ? in->n : UINT32_MAX, room = out->room - out->n;
    room = room < UINT32_MAX ? room : UINT32_MAX;
    bool all = take == in->n;
    e->gzip.next_in = (Bytef *)(uintptr_t)in->p;
    e->gzip.avail_in = (uInt)take;
    e->gzip.next_out = (Bytef *)out->p + out->n;
    e->gzip.avail_out = (uInt)room;
    int r = deflate(&e->gzip, all ? flush[end] : Z_NO_FLUSH);
    *in = span_from(*in, take - e->gzip.avail_in);
    out->n += room - e->gzip.avail_out;
    *done = end == ENCODER_FINISH ? r == Z_STREAM_END : in->n == 0 && e->gzip.avail_out > 0;
    return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR; /* the last: nothing was left to do */
}

static bool encoder_step_br(encoder_t *e, span_t *in, encoder_end_t end, encoded_t *out, bool *done)
{
    static const BrotliEncoderOperation op[] = {[ENCODER_MORE] = BROTLI_OPERATION_PROCESS,
                                                [ENCODER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                [ENCODER_FINISH] = BROTLI_OPERATION_FINISH};
    const uint8_t *next_in = (const uint8_t *)in->p;
    uint8_t *next_out = (uint8_t *)out->p + out->n;
    size_t left = in->n, room = out->room - out->n;
    bool good = BrotliEncoderCompressStream(e->br, op[end], &left, &next_in, &room, &next_out, NULL) == BROTLI_TRUE;
    *in = span_from(*in, in->n - left);
    out->n = out->room - room;
    *done = left == 0 && (end == ENCODER_FINISH ? BrotliEncoderIsFinished(e->br) == BROTLI_TRUE
                                                : BrotliEncoderHasMoreOutput(e->br) == BROTLI_FALSE);
    return good;
}

static bool encoder_step_zstd(encoder_t *e, span_t *in, encoder_end_t end, encoded_t *out, bool *done)
{
    static const ZSTD_EndDirective op[] = {
        [ENCODER_MORE] = ZSTD_e_continue, [ENCODER_FLUSH] = ZSTD_e_flush, [ENCODER_FINISH] = ZSTD_e_end};
    ZSTD_inBuffer from = {in->p, in->n, 0};
    ZSTD_outBuffer to = {out->p, out->room, out->n};
    size_t left = ZSTD_compressStream2(e->zstd, &to, &from, op[end]);
    *in = span_from(*in, from.pos);
    out->n = to.pos;
    *done = in->n == 0 && (end == ENCODER_MORE || left == 0);
    return !ZSTD_isError(left);
}

err_t encoder_put(encoder_t *e, span_t in, encoder_end_t end, encoded_t *out)
{
    bool (*step)(encoder_t *, span_t *, encoder_end_t, encoded_t *, bool *) = e->coding == CODING_BR ? encoder_step_br
                                                                              : e->coding == CODING_ZSTD
                                                                                  ? encoder_step_zstd
                                                                                  : encoder_step_gzip;
    for (bool done = false; !done;) {
        if (!encoder_room(out))
            return ERR_TOO_BIG;
        if (!step(e, &in, end, out, &done))
            return ERR_CORRUPT;
    }
    return ERR_OK;
}
