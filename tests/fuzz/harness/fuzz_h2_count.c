/* A header block of HTTP/2, counted and decoded: what a decoder makes of it is never more than was counted, and the
 * count is the same in every split. */
#include <nghttp2/nghttp2.h>

#include "edge/base/check.h"
#include "edge/serve/h2_count.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t decode(const uint8_t *data, size_t size, bool *whole)
{
    nghttp2_hd_inflater *in;
    size_t fields = 0;
    CHECK(nghttp2_hd_inflate_new(&in) == 0);
    *whole = false;
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t r = nghttp2_hd_inflate_hd2(in, &nv, &flags, data, size, 1);
        if (r < 0)
            break;
        data += r;
        size -= (size_t)r;
        fields += (flags & NGHTTP2_HD_INFLATE_EMIT) != 0;
        *whole = (flags & NGHTTP2_HD_INFLATE_FINAL) != 0;
        if (*whole || (r == 0 && (flags & NGHTTP2_HD_INFLATE_EMIT) == 0))
            break;
    }
    nghttp2_hd_inflate_del(in);
    return fields;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h2_count_t whole = {0}, single = {0};
    span_t block = span_of((const char *)data, size);
    bool well;
    if (size > 20000)
        return 0;
    h2_count_feed(&whole, block);
    for (size_t i = 0; i < size; i++)
        h2_count_feed(&single, span_of(block.p + i, 1));
    CHECK(whole.fields == single.fields && whole.skip == single.skip && whole.step == single.step);
    CHECK(whole.fields <= size);
    size_t fields = decode(data, size, &well);
    CHECK(fields <= whole.fields);
    if (well) { /* then what is more are size updates, which are never behind a field */
        size_t updates = whole.fields - fields;
        CHECK(updates == 0 || (size > 0 && (data[0] & 0xe0) == 0x20));
    }
    return 0;
}
