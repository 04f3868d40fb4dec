/* A record's head from a damaged disk: either refused, or everything in it can be read, and it packs again to the same
 * bytes. The first byte chooses whether the checksum is made right, so that what lies behind it is reached. */
#include <stdlib.h>
#include <xxhash.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/warm/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t n = size - 1;
    char *bytes = mem_alloc(n + 1);
    memcpy(bytes, data + 1, n);
    if (data[0] % 2 == 1 && n >= 24) {
        uint32_t head;
        memcpy(&head, bytes + 16, 4);
        uint64_t sum = head >= 16 && head <= n ? XXH3_64bits(bytes + 16, head - 16) : 0;
        memcpy(bytes + 8, &sum, 8);
    }
    char *exact = mem_alloc(n > 0 ? n : 1); /* so that a sanitizer sees one byte too far */
    memcpy(exact, bytes, n);
    record_t r;
    if (record_parse(span_of(exact, n), &r) == ERR_OK && r.body_size < 4096) {
        body_t *body = body_new((int64_t)r.body_size);
        char zeros[4096] = {0};
        CHECK(body_append(body, span_of(zeros, r.body_size), NULL) == ERR_OK);
        body_end(body, BODY_COMPLETE);
        object_t *o = record_object(&r, body);
        size_t pos = 0, count = 0, again;
        field_t f;
        while (fieldblock_next(object_fields(o), &pos, &f))
            count += f.name.n + f.value.n + 1;
        CHECK(count <= n + FIELDS_MAX_COUNT);
        CHECK(object_uri(o).n <= object_key(o).n);
        CHECK(record_head_size(o, &again) == ERR_OK && again == r.head_size);
        char *packed = mem_alloc(again);
        record_pack(o, r.mark, r.checked, packed, again);
        record_t second;
        CHECK(record_parse(span_of(packed, again), &second) == ERR_OK);
        CHECK(memcmp(packed + 24, exact + 24, 152) == 0 && memcmp(packed + 184, exact + 184, again - 184) == 0);
        free(packed);
        object_unref(o);
    }
    free(exact);
    free(bytes);
    return 0;
}
