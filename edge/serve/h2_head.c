/* The decision to index is made by a doorkeeper: 64 hashes of what was sent, overwritten freely. A collision costs a
 * few bytes, never correctness. Lookup is a scan over the hashes of what fits into 4 KiB. */
#include "edge/serve/h2_head.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/hash.h"
#include "edge/base/mem.h"

enum { STATIC_ENTRIES = 61, ENTRY_OVERHEAD = 32, NAME_SET_COOKIE = 55 };

/* Exported by the library with its encoder; Huffman where that is shorter. dst holds len + 5 bytes. */
size_t h2o_hpack_encode_string(uint8_t *dst, const char *s, size_t len);

void h2_head_init(h2_head_t *h)
{
    *h = (h2_head_t){.capacity = H2_HEAD_TABLE_BYTES, .lowest = H2_HEAD_TABLE_BYTES};
}

static void h2_head_evict(h2_head_t *h, uint32_t most)
{
    while (h->count > 0 && h->bytes > most) {
        h2_head_entry_t *e = &h->ring[(h->first + --h->count) % H2_HEAD_ENTRIES];
        h->bytes -= e->name_len + e->value_len + ENTRY_OVERHEAD;
        free(e->bytes);
    }
}

void h2_head_release(h2_head_t *h)
{
    h2_head_evict(h, 0);
    free(h->ring);
    h->ring = NULL;
}

void h2_head_set_capacity(h2_head_t *h, uint32_t peer)
{
    uint32_t capacity = peer < H2_HEAD_TABLE_BYTES ? peer : H2_HEAD_TABLE_BYTES;
    if (capacity == h->capacity)
        return;
    h->capacity = capacity;
    h->changed = true;
    if (capacity < h->lowest)
        h->lowest = capacity;
    h2_head_evict(h, capacity);
}

void h2_head_resync(h2_head_t *h)
{
    h->lowest = 0;
    h->changed = true;
    h2_head_evict(h, 0);
}

/* Names of the static table that responses use: RFC 7541 appendix A. */
static uint32_t h2_head_static_name(span_t name)
{
    static const struct {
        span_t name;
        uint32_t index;
    } names[] = {
        {{"age", 3}, 21},
        {{"via", 3}, 60},
        {{"date", 4}, 33},
        {{"etag", 4}, 34},
        {{"link", 4}, 45},
        {{"vary", 4}, 59},
        {{"allow", 5}, 22},
        {{"server", 6}, 54},
        {{"expires", 7}, 36},
        {{"refresh", 7}, 52},
        {{"location", 8}, 46},
        {{"set-cookie", 10}, 55},
        {{"retry-after", 11}, 53},
        {{"content-type", 12}, 31},
        {{"accept-ranges", 13}, 18},
        {{"cache-control", 13}, 24},
        {{"content-range", 13}, 30},
        {{"last-modified", 13}, 44},
        {{"content-length", 14}, 28},
        {{"content-encoding", 16}, 26},
        {{"content-language", 16}, 27},
        {{"content-location", 16}, 29},
        {{"www-authenticate", 16}, 61},
        {{"proxy-authenticate", 18}, 48},
        {{"content-disposition", 19}, 25},
        {{"strict-transport-security", 25}, 56},
        {{"access-control-allow-origin", 27}, 20},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0] && names[i].name.n <= name.n; i++)
        if (names[i].name.n == name.n && span_eq(names[i].name, name))
            return names[i].index;
    return 0;
}

static uint8_t *h2_head_int(uint8_t *dst, uint8_t pattern, unsigned prefix_bits, uint32_t v)
{
    uint32_t most = (1U << prefix_bits) - 1;
    if (v < most) {
        *dst++ = (uint8_t)(pattern | v);
        return dst;
    }
    *dst++ = (uint8_t)(pattern | most);
    for (v -= most; v >= 128; v >>= 7)
        *dst++ = (uint8_t)(128 | (v & 127));
    *dst++ = (uint8_t)v;
    return dst;
}

static bool h2_head_insert(h2_head_t *h, uint32_t hash, uint32_t name_hash, const field_t *f)
{
    size_t size = f->name.n + f->value.n + ENTRY_OVERHEAD;
    if (size > h->capacity / 4) /* one large field must not empty the table */
        return false;
    h2_head_evict(h, h->capacity - (uint32_t)size);
    CHECK(h->count < H2_HEAD_ENTRIES); /* an entry counts 33 bytes or more */
    if (h->ring == NULL)
        h->ring = mem_alloc(H2_HEAD_ENTRIES * sizeof *h->ring);
    h->first = (h->first + H2_HEAD_ENTRIES - 1) % H2_HEAD_ENTRIES;
    h2_head_entry_t *e = &h->ring[h->first];
    *e = (h2_head_entry_t){hash, name_hash, (uint32_t)f->name.n, (uint32_t)f->value.n, mem_alloc(size)};
    memcpy(e->bytes, f->name.p, f->name.n);
    if (f->value.n > 0)
        memcpy(e->bytes + f->name.n, f->value.p, f->value.n);
    h->count++;
    h->bytes += (uint32_t)size;
    return true;
}

static uint8_t *h2_head_field(h2_head_t *h, uint8_t *dst, const field_t *f)
{
    uint64_t name_hash = hash_64(f->name, 0);
    uint32_t hash = (uint32_t)hash_64(f->value, name_hash), name = h2_head_static_name(f->name), named = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const h2_head_entry_t *e = &h->ring[(h->first + i) % H2_HEAD_ENTRIES];
        if (e->name_hash != (uint32_t)name_hash || !span_eq(f->name, span_of(e->bytes, e->name_len)))
            continue;
        named = STATIC_ENTRIES + 1 + i;
        if (e->hash == hash && span_eq(f->value, span_of(e->bytes + e->name_len, e->value_len)))
            return h2_head_int(dst, 0x80, 7, named);
    }
    bool secret = name == NAME_SET_COOKIE;
    uint32_t *seen = &h->seen[hash % H2_HEAD_SEEN];
    bool again = *seen == hash;
    *seen = hash;
    if (name == 0)
        name = named;
    /* The index of a name counts from before the insertion: RFC 7541 6.2.1 with 2.3.2. It may be evicted by it: 4.4. */
    bool indexed = again && !secret && h2_head_insert(h, hash, (uint32_t)name_hash, f);
    dst = indexed ? h2_head_int(dst, 0x40, 6, name) : h2_head_int(dst, secret ? 0x10 : 0x00, 4, name);
    if (name == 0)
        dst += h2o_hpack_encode_string(dst, f->name.p, f->name.n);
    return dst + h2o_hpack_encode_string(dst, f->value.p, f->value.n);
}

static uint8_t *h2_head_status(uint8_t *dst, int status)
{
    static const struct {
        int status;
        uint8_t byte;
    } common[] = {{200, 0x88}, {204, 0x89}, {206, 0x8a}, {304, 0x8b}, {400, 0x8c}, {404, 0x8d}, {500, 0x8e}};
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (common[i].status == status) {
            *dst++ = common[i].byte;
            return dst;
        }
    CHECK(status >= 100 && status <= 999);
    *dst++ = 0x08; /* literal without indexing, name 8 (:status) */
    *dst++ = 3;
    *dst++ = (uint8_t)('0' + status / 100);
    *dst++ = (uint8_t)('0' + status / 10 % 10);
    *dst++ = (uint8_t)('0' + status % 10);
    return dst;
}

size_t h2_head_bound(const field_t *v, size_t n)
{
    size_t bytes = H2_HEAD_OVERHEAD;
    for (size_t i = 0; i < n; i++)
        bytes += v[i].name.n + v[i].value.n + 24;
    return bytes;
}

size_t h2_head_encode(h2_head_t *h, uint8_t *dst, int status, const field_t *v, size_t n, int64_t content_length)
{
    uint8_t *p = dst;
    if (h->changed) {
        if (h->lowest < h->capacity)
            p = h2_head_int(p, 0x20, 5, h->lowest);
        p = h2_head_int(p, 0x20, 5, h->capacity);
        h->changed = false;
        h->lowest = h->capacity;
    }
    p = h2_head_status(p, status);
    for (size_t i = 0; i < n; i++)
        p = h2_head_field(h, p, &v[i]);
    if (content_length >= 0) {
        char digits[24];
        size_t at = sizeof digits;
        uint64_t left = (uint64_t)content_length;
        do
            digits[--at] = (char)('0' + left % 10);
        while ((left /= 10) > 0);
        p = h2_head_int(p, 0x00, 4, 28);
        *p++ = (uint8_t)(sizeof digits - at);
        memcpy(p, digits + at, sizeof digits - at);
        p += sizeof digits - at;
    }
    return (size_t)(p - dst);
}
