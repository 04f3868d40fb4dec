/* Parameters of calls: what is taken apart is all there, and decoding makes nothing longer. */
#include <stdint.h>

#include "edge/base/check.h"
#include "edge/http/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    span_t rest = span_of((const char *)data, size), name, value, text;
    arena_t a;
    arena_init(&a, 0);
    while (query_next(&rest, &name, &value)) {
        CHECK(name.n + value.n <= size && rest.n < size);
        for (int plus = 0; plus < 2; plus++)
            CHECK(query_decode(&a, value, plus != 0, &text) != ERR_OK || text.n <= value.n);
    }
    CHECK(rest.n == 0);
    arena_release(&a);
    return 0;
}
