/* Four bytes of length, then a Range: the answer lies within the representation and has no overlaps. Also a
 * Content-Range. */
#include "edge/base/check.h"
#include "edge/http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    range_t v[RANGE_MAX], one;
    size_t n;
    uint32_t length;
    int64_t total;
    if (size < sizeof length)
        return 0;
    memcpy(&length, data, sizeof length);
    span_t text = span_of((const char *)data + sizeof length, size - sizeof length);
    range_verdict_t r = range_parse(text, length, v, &n);
    CHECK((r == RANGE_PARTIAL) == (n > 0) && n <= RANGE_MAX);
    for (size_t i = 0; i < n; i++) {
        CHECK(v[i].first <= v[i].last && v[i].last < length);
        for (size_t k = 0; k < i; k++)
            CHECK(v[k].last < v[i].first || v[i].last < v[k].first);
    }
    if (range_parse_content_range(text, &one, &total) == ERR_OK)
        CHECK(one.first <= one.last && (total == -1 || (total > 0 && one.last < (uint64_t)total)));
    return 0;
}
