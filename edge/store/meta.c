/* Seven bits a byte, the low ones first; signed numbers are folded so that small ones of either sign are short. What
 * upstreams say in whole seconds is written as such: the lowest bit tells. */
#include "edge/store/meta.h"

#include <stdint.h>

/* What most responses have, so that it is written as 0. */
enum { META_STATUS = 200, META_FLAGS = STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED | STORED_STRONG_ETAG };

static char *meta_put(char *p, int64_t n)
{
    uint64_t u = (uint64_t)n << 1 ^ (n < 0 ? ~(uint64_t)0 : 0);
    for (; u >= 128; u >>= 7)
        *p++ = (char)(u | 128);
    *p++ = (char)u;
    return p;
}

static inline int64_t meta_get(const char **p)
{
    uint64_t u = 0, byte;
    unsigned shift = 0;
    do {
        byte = (unsigned char)*(*p)++;
        u |= (byte & 127) << shift;
        shift += 7;
    } while (byte >= 128);
    return (int64_t)(u >> 1 ^ -(u & 1));
}

/* Differences wrap around, so that any two numbers have one. */
static int64_t meta_minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static char *meta_put_time(char *p, msec_t n)
{
    if (n % MSEC_PER_SEC == 0)
        return meta_put(p, n / MSEC_PER_SEC * 2);
    return meta_put(meta_put(p, 1), n);
}

static inline msec_t meta_get_time(const char **p)
{
    int64_t n = meta_get(p);
    return n == 1 ? meta_get(p) : n / 2 * MSEC_PER_SEC;
}

_Static_assert(sizeof(stored_t) == 88, "a new member has to be packed too");

size_t meta_pack(const stored_t *m, char out[META_MOST])
{
    char *p = out;
    p = meta_put(p, (int64_t)m->status - META_STATUS);
    p = meta_put(p, m->flags ^ META_FLAGS);
    p = meta_put(p, m->response_time);
    p = meta_put(p, meta_minus(m->response_time, m->date));
    p = meta_put(p, meta_minus(m->response_time, m->request_time));
    p = meta_put_time(p, m->initial_age);
    p = meta_put_time(p, m->lifetime);
    p = meta_put_time(p, m->stale_while_revalidate);
    p = meta_put_time(p, m->stale_if_error);
    p = meta_put_time(p, meta_minus(m->date, m->last_modified));
    p = meta_put(p, m->content_length);
    if ((m->flags & STORED_PART) != 0)
        p = meta_put(p, m->part_first);
    return (size_t)(p - out);
}

void meta_unpack(const char *p, stored_t *out)
{
    out->status = (int32_t)(meta_get(&p) + META_STATUS);
    out->flags = (uint32_t)meta_get(&p) ^ META_FLAGS;
    out->response_time = meta_get(&p);
    out->date = meta_minus(out->response_time, meta_get(&p));
    out->request_time = meta_minus(out->response_time, meta_get(&p));
    out->initial_age = meta_get_time(&p);
    out->lifetime = meta_get_time(&p);
    out->stale_while_revalidate = meta_get_time(&p);
    out->stale_if_error = meta_get_time(&p);
    out->last_modified = meta_minus(out->date, meta_get_time(&p));
    out->content_length = meta_get(&p);
    out->part_first = (out->flags & STORED_PART) != 0 ? meta_get(&p) : 0;
}
