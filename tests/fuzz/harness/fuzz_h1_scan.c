/* An HTTP/1 client's bytes before the library's parser sees them: the verdict doesn't depend on how they are split. The
 * first byte chooses small limits, the second the splits. */
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/serve/h1_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct verdict {
    int status;
    size_t requests, refused_at; /* of the whole input */
    bool idle, in_body;
} verdict_t;

static uint64_t body_limit(void *arg, const char *host, size_t n)
{
    for (size_t i = 0; i < n; i++) /* none: HTTP/1.0 without Host */
        CHECK(host[i] > ' ' && host[i] < 0x7f);
    return n == 1 ? UINT64_MAX : *(uint64_t *)arg;
}

/* As the guard feeds it: what is left of earlier reads lies before what is new, and requests that are complete don't.
 */
static verdict_t scan(const char *bytes, size_t size, size_t step, const h1_scan_limits_t *limits)
{
    h1_scan_t s = {0};
    verdict_t v = {0};
    size_t base = 0;
    for (size_t at = 0; at < size && v.status == 0;) {
        size_t to = at + step < size ? at + step : size;
        char *exact = mem_alloc(to - base);
        memcpy(exact, bytes + base, to - base);
        h1_scan_result_t r = h1_scan_feed(&s, limits, exact, at - base, to - base);
        free(exact);
        v.status = r.status;
        v.requests += r.requests;
        if (r.requests > 0)
            base += r.refused_at;
        v.refused_at = base;
        at = to;
    }
    v.idle = h1_scan_idle(&s);
    v.in_body = h1_scan_in_body(&s);
    return v;
}

/* What is told of any bytes lies within them. */
static void words(const char *bytes, size_t size)
{
    char *exact = mem_alloc(size);
    memcpy(exact, bytes, size);
    span_t method, target;
    h1_scan_words(span_of(exact, size), &method, &target);
    CHECK(target.p >= exact && target.p + target.n <= exact + size);
    CHECK(method.p == NULL || (method.n > 0 && method.p >= exact && method.p + method.n < target.p));
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 20000)
        return 0;
    uint64_t here = data[0] % 64;
    h1_scan_limits_t limits = {.header_bytes = 64 + (size_t)data[0] * 4,
                               .header_count = 1 + data[0] % 16,
                               .target_bytes = 16 + data[0] % 128,
                               .max_body = (uint64_t)data[0] * 10,
                               .body_limit = body_limit,
                               .arg = &here,
                               .room = 1000};
    const char *bytes = (const char *)data + 2;
    size -= 2;
    verdict_t whole = scan(bytes, size, size, &limits), split = scan(bytes, size, 1 + data[1], &limits),
              single = scan(bytes, size, 1, &limits);
    CHECK(whole.status == 0 || whole.status == H1_SCAN_FOREIGN || whole.status == 400 || whole.status == 413 ||
          whole.status == 414 || whole.status == 431 || whole.status == 503 || whole.status == 505);
    CHECK(whole.status == split.status && whole.status == single.status);
    CHECK(whole.requests == split.requests && whole.requests == single.requests);
    CHECK(whole.refused_at == split.refused_at && whole.refused_at == single.refused_at);
    CHECK(whole.status != 0 || (whole.idle == single.idle && whole.in_body == single.in_body));
    words(bytes, size);
    return 0;
}
