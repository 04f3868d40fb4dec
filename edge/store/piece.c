/* Keys of pieces: the head's, then a line that no cache key has (those that cookies add begin otherwise). */
#include "edge/store/piece.h"

#include <stdio.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

uint64_t piece_edition(uint64_t variant, span_t validator, uint64_t length)
{
    return hash_64(validator, hash_64(span_of((const char *)&length, sizeof length), variant));
}

body_t *piece_head_body(uint64_t edition)
{
    body_t *body = body_new(sizeof edition);
    CHECK(body_append(body, span_of((const char *)&edition, sizeof edition), NULL) == ERR_OK);
    body_end(body, BODY_COMPLETE);
    return body;
}

uint64_t piece_edition_of(const object_t *head)
{
    uint64_t edition = 0;
    body_cursor_t c = {0};
    struct iovec v;
    if (body_read(object_body(head), &c, sizeof edition, &v, 1, sizeof edition) == 1 && v.iov_len == sizeof edition)
        memcpy(&edition, v.iov_base, sizeof edition);
    return edition;
}

/* What stands behind the head's key. */
static size_t piece_line(const object_t *o, uint64_t edition, uint64_t number, char line[PIECE_KEY_MORE])
{
    return (size_t)snprintf(line, PIECE_KEY_MORE, "\npiece=%llx-%llx-%llx", (unsigned long long)object_variant(o),
                            (unsigned long long)edition, (unsigned long long)number);
}

/* The whole key; the caller's to free. */
static char *piece_key(const object_t *o, uint64_t edition, uint64_t number, size_t *n)
{
    char line[PIECE_KEY_MORE];
    span_t key = object_key(o);
    size_t more = piece_line(o, edition, number, line);
    char *text = mem_alloc(key.n + more);
    memcpy(text, key.p, key.n);
    memcpy(text + key.n, line, more);
    *n = key.n + more;
    return text;
}

object_t *piece_new(const object_t *o, uint64_t edition, uint64_t number, uint64_t began, body_t *body)
{
    size_t n;
    char *key = piece_key(o, edition, number, &n);
    stored_t meta = object_meta(o);
    meta.status = 206;
    meta.flags = 0;
    meta.content_length = (int64_t)body_length(body);
    meta.part_first = 0;
    object_t *piece = object_restore(hash_digest(span_of(key, n)), 0, span_of(key, n), o->uri_at, o->uri_len, SPAN_NONE,
                                     &meta, began, mem_zalloc(sizeof(fieldblock_t)), body, object_tags(o), o->tags_n);
    free(key);
    return piece;
}

digest_t piece_digest(const object_t *o, uint64_t edition, uint64_t number)
{
    size_t n;
    char *key = piece_key(o, edition, number, &n);
    digest_t d = hash_digest(span_of(key, n));
    free(key);
    return d;
}

bool piece_is(span_t key, const object_t *o, uint64_t edition, uint64_t number)
{
    char line[PIECE_KEY_MORE];
    span_t head = object_key(o);
    size_t n = piece_line(o, edition, number, line);
    return key.n == head.n + n && memcmp(key.p, head.p, head.n) == 0 && memcmp(key.p + head.n, line, n) == 0;
}
