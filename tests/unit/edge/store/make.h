/* Stored responses for tests: everything in them follows from a number, so that whoever reads one back can tell whether
 * each byte is the right one. */
#ifndef BRINK_TESTS_STORE_MAKE_H
#define BRINK_TESTS_STORE_MAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/store/object.h"

static inline uint64_t make_mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static inline digest_t make_digest(uint64_t n)
{
    return (digest_t){make_mix(n + 1), make_mix(~n)};
}

/* Byte `at` of body n in version v. */
static inline char make_byte(uint64_t n, uint64_t v, uint64_t at)
{
    return (char)(make_mix(n * 31 + v * 7 + at / 8) >> (at % 8 * 8));
}

static inline object_t *make_object_full(uint64_t n, uint64_t variant, uint64_t version, size_t size)
{
    char key[64], selecting[32];
    int key_n = snprintf(key, sizeof key, "http://host/%llu", (unsigned long long)n);
    int selecting_n = variant != 0 ? snprintf(selecting, sizeof selecting, "v%llu", (unsigned long long)variant) : 0;
    fieldblock_t *fields = mem_zalloc(sizeof *fields);
    body_t *body = body_new((int64_t)size);
    char *bytes = mem_alloc(size + 8);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = make_mix(n * 31 + version * 7 + i / 8);
        memcpy(bytes + i, &word, 8);
    }
    (void)body_append(body, span_of(bytes, size), NULL);
    body_end(body, BODY_COMPLETE);
    free(bytes);
    stored_t meta = {.status = 200,
                     .date = (msec_t)version,
                     .response_time = (msec_t)version,
                     .lifetime = 3600000,
                     .last_modified = -1,
                     .content_length = (int64_t)size};
    digest_t tags[2] = {make_digest(n * 2), make_digest(n * 2 + 1)};
    return object_restore(make_digest(n), variant, span_of(key, (size_t)key_n), 7, (uint32_t)key_n - 7,
                          span_of(selecting, (size_t)selecting_n), &meta, version, fields, body, tags, n % 3);
}

static inline object_t *make_object(uint64_t n, size_t size)
{
    return make_object_full(n, 0, 1, size);
}

/* Is every byte of it what make_object_full(n, variant, version, …) wrote? The version is read from the object itself.
 */
static inline bool make_verify(const object_t *o, uint64_t n)
{
    uint64_t version = (uint64_t)object_meta(o).date, at = 0;
    char key[64];
    int key_n = snprintf(key, sizeof key, "http://host/%llu", (unsigned long long)n);
    if (!span_eq(object_key(o), span_of(key, (size_t)key_n)) || !hash_eq(o->digest, make_digest(n)) ||
        !hash_eq(object_uri_digest(o), key_uri_digest(span_of(key + 7, (size_t)key_n - 7))) || o->tags_n != n % 3 ||
        o->stamp.began != version || (int64_t)body_length(object_body(o)) != object_meta(o).content_length ||
        body_state(object_body(o)) != BODY_COMPLETE)
        return false;
    for (uint32_t i = 0; i < o->tags_n; i++)
        if (!hash_eq(object_tags(o)[i], make_digest(n * 2 + i)))
            return false;
    body_cursor_t c = {0};
    struct iovec v;
    while (body_read(object_body(o), &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1)
        for (size_t i = 0; i < v.iov_len; i++, at++)
            if (((const char *)v.iov_base)[i] != make_byte(n, version, at))
                return false;
    return at == body_length(object_body(o));
}

#endif
