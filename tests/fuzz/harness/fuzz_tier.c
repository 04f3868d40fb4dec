/* Any bytes as the field that authenticates a tier request: never believed unless signed; and what is made of any parts
 * that can be sent is read as it was meant. */
#include "edge/base/check.h"
#include "shield/tier.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tier_key_t *k;
    if (k == NULL)
        k = tier_key_new(SPAN("a secret that nobody else knows"));
    span_t value = span_of((const char *)data, size), part;
    tier_request_t req = {.method = SPAN("GET"), .scheme = SPAN("http"), .host = SPAN("h"), .target = SPAN("/")};
    tier_t t;
    unsigned char mac[32];
    if (tier_parse(value, &t, &part, mac) == ERR_OK) {
        CHECK(part.p == value.p && part.n < value.n && t.node.n > 0 && t.hops.n >= t.node.n && t.sent >= 0 &&
              t.newer_than >= -1 && t.patience >= 0);
        tier_loops(&t, SPAN("edge-1"));
        CHECK(tier_loops(&t, t.node) || span_find(t.node, ',') < t.node.n);
        CHECK(tier_verify(k, value, &req, t.sent, &t) == ERR_REFUSED);
    }
    /* The bytes as the parts of a request: node, hops, run, cursor divided by line feeds. */
    span_t parts[4], rest = value;
    for (int i = 0; i < 4; i++) {
        size_t end = span_find(rest, '\n');
        parts[i] = span_upto(rest, end);
        rest = span_from(rest, end + 1);
    }
    tier_t in = {.node = parts[0],
                 .hops = parts[1],
                 .run = parts[2],
                 .cursor = parts[3],
                 .newer_than = (msec_t)size - 1,
                 .patience = (msec_t)size / 2},
           out;
    arena_t a;
    arena_init(&a, 0);
    req.target = value;
    span_t made = tier_sign(k, &a, &req, &in, 1000);
    if (made.p != NULL) {
        CHECK(tier_verify(k, made, &req, 1000, &out) == ERR_OK);
        CHECK(span_eq(in.node, out.node) && span_eq(in.run, out.run) && span_eq(in.cursor, out.cursor) &&
              in.newer_than == out.newer_than && in.patience == out.patience);
        CHECK(span_starts(out.hops, in.hops) && tier_loops(&out, in.node));
    }
    arena_release(&a);
    return 0;
}
