/* Response heads in HPACK: whatever an origin's fields and a peer's table size are, a decoder that isn't ours reads
 * what was meant, within the table that its owner allowed. Records: a byte, 255 = the peer's SETTINGS_HEADER_TABLE_SIZE
 * (two bytes follow, times 16); 254 = somebody else wrote a block; else a head of so many fields (modulo 8), each a
 * byte of name length, a byte of value length, and their bytes. */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/serve/h2_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_FIELDS = 8 };

static bool is(const nghttp2_nv *nv, span_t name, span_t value)
{
    return span_eq(span_of((const char *)nv->name, nv->namelen), name) &&
           span_eq(span_of((const char *)nv->value, nv->valuelen), value);
}

static void decode(nghttp2_hd_inflater *in, uint8_t *at, size_t n, int status, const field_t *v, size_t fields,
                   int64_t length)
{
    char number[32];
    size_t seen = 0;
    for (bool over = false; !over;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t r = nghttp2_hd_inflate_hd2(in, &nv, &flags, at, n, 1);
        CHECK(r >= 0);
        at += r;
        n -= (size_t)r;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            if (seen == 0)
                snprintf(number, sizeof number, "%d", status);
            else
                snprintf(number, sizeof number, "%lld", (long long)length);
            CHECK(seen == 0        ? is(&nv, SPAN(":status"), span_str(number))
                  : seen <= fields ? is(&nv, v[seen - 1].name, v[seen - 1].value)
                                   : length >= 0 && is(&nv, SPAN("content-length"), span_str(number)));
            seen++;
        }
        over = (flags & NGHTTP2_HD_INFLATE_FINAL) != 0;
        CHECK(over || n > 0 || (flags & NGHTTP2_HD_INFLATE_EMIT) != 0);
    }
    CHECK(n == 0 && seen == 1 + fields + (length >= 0 ? 1 : 0));
    CHECK(nghttp2_hd_inflate_end_headers(in) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h2_head_t h = {0};
    nghttp2_hd_inflater *in;
    h2_head_init(&h);
    CHECK(nghttp2_hd_inflate_new(&in) == 0);
    while (size > 0) {
        uint8_t kind = *data++;
        size--;
        if (kind == 255) {
            if (size < 2)
                break;
            uint32_t table = ((uint32_t)data[0] << 8 | data[1]) * 16;
            h2_head_set_capacity(&h, table);
            CHECK(nghttp2_hd_inflate_change_table_size(in, table) == 0);
            data += 2;
            size -= 2;
            continue;
        }
        if (kind == 254) {
            h2_head_resync(&h);
            continue;
        }
        field_t v[HEAD_FIELDS];
        size_t n = 0;
        for (; n < kind % HEAD_FIELDS && size >= 2; n++) {
            size_t name = data[0] % 24, value = data[1];
            data += 2;
            size -= 2;
            name = name < size ? name : size;
            v[n].name = span_of((const char *)data, name);
            data += name;
            size -= name;
            value = value < size ? value : size;
            v[n].value = span_of((const char *)data, value);
            data += value;
            size -= value;
        }
        int status = 100 + kind * 3;
        int64_t length = kind % 2 == 0 ? -1 : (int64_t)kind * 1000;
        size_t most = h2_head_bound(v, n);
        uint8_t *block = mem_alloc(most);
        size_t used = h2_head_encode(&h, block, status, v, n, length);
        CHECK(used <= most);
        decode(in, block, used, status, v, n, length);
        free(block);
    }
    nghttp2_hd_inflate_del(in);
    h2_head_release(&h);
    return 0;
}
