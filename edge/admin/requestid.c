/* The upper half is drawn at random once a thread; the lower half is a counter put through a mixing function that is a
 * bijection (splitmix64's) under a random key, so ids of a thread never repeat and don't show how many requests there
 * were. */
#include "edge/admin/requestid.h"

#include <sys/random.h>

#include "edge/base/check.h"

typedef struct requestid_sequence {
    uint64_t upper, key, count;
    bool seeded;
} requestid_sequence_t;

static _Thread_local requestid_sequence_t requestid_mine;

static uint64_t requestid_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void requestid_hex(char *out, uint64_t x)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, x >>= 4)
        out[i] = digits[x & 15];
}

void requestid_make(char out[REQUESTID_BYTES + 1])
{
    requestid_sequence_t *s = &requestid_mine;
    if (!s->seeded) {
        uint64_t seed[2];
        CHECK(getrandom(seed, sizeof seed, 0) == (ssize_t)sizeof seed); /* 16 bytes come whole */
        s->upper = seed[0];
        s->key = seed[1];
        s->seeded = true;
    }
    requestid_hex(out, s->upper);
    requestid_hex(out + 16, requestid_mix(s->key + s->count++ * 0x9e3779b97f4a7c15u));
    out[REQUESTID_BYTES] = '\0';
}

bool requestid_valid(span_t id)
{
    if (id.n == 0 || id.n > REQUESTID_MOST)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i], l = span_lower(c);
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-_.:+/=@", c) != NULL)))
            return false;
    }
    return true;
}
