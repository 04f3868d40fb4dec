/* Selecting fields: the input is first taken for a packed form from disk, then for a Vary, the fields of a request and
 * packed bytes to come, one a line. What was packed must match what it was packed for, and always in the same bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/policy/vary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lower(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = span_lower(p[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_t a;
    arena_init(&a, 4 << 20);
    fields_t response, request;
    fields_init(&response, &a);
    fields_init(&request, &a);
    span_t rest = arena_copy(&a, span_of((const char *)data, size));

    /* "vary value", then "name:value" lines; what can't stand in a message is left out, as the parsers before would. */
    size_t end = span_find(rest, '\n');
    if (fields_value_valid(span_upto(rest, end)))
        fields_add(&response, SPAN("vary"), span_trim(span_upto(rest, end)));
    rest = span_from(rest, end + 1);
    while (rest.n > 0) {
        end = span_find(rest, '\n');
        span_t line = span_upto(rest, end);
        size_t colon = span_find(line, ':');
        span_t name = span_upto(line, colon), value = span_trim(span_from(line, colon + 1));
        lower((char *)name.p, name.n);
        if (fields_name_valid(name) && fields_value_valid(value))
            fields_add(&request, name, value);
        rest = span_from(rest, end + 1);
    }

    span_t packed, again, raw = span_of((const char *)data, size);
    err_t e = vary_pack(&a, &response, &request, &packed);
    CHECK(e == ERR_OK || e == ERR_RANGE);
    if (e == ERR_OK) {
        CHECK(packed.n <= VARY_MAX_BYTES);
        CHECK(vary_match(packed, &request, &a));
        CHECK(vary_pack(&a, &response, &request, &again) == ERR_OK && span_eq(packed, again));
        CHECK(vary_same_names(packed, packed));
        CHECK((vary_digest(packed) == 0) == (packed.n == 0));
    }
    /* The same bytes as if they came from disk: any answer will do, as long as it is the same twice. An exact heap copy
     * shows a read beyond the end. */
    char *disk = malloc(size > 0 ? size : 1);
    if (disk != NULL && size > 0)
        memcpy(disk, data, size);
    raw.p = disk;
    CHECK(vary_match(raw, &request, &a) == vary_match(raw, &request, &a));
    CHECK(vary_same_names(raw, packed) == vary_same_names(packed, raw));
    vary_digest(raw);
    free(disk);
    arena_release(&a);
    return 0;
}
