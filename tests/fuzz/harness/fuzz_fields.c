/* Bytes "from disk" as a packed block (two bytes of count first): accepted ones are walked, unpacked and packed to the
 * same bytes. The same bytes as lines "name: value" through the removal of hop-by-hop fields. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/http/fields.h"

static void block(const uint8_t *data, size_t size)
{
    uint16_t count;
    arena_t a;
    fields_t f;
    fieldblock_t *again;
    memcpy(&count, data, sizeof count);
    data += sizeof count;
    size -= sizeof count;
    if (fieldblock_validate((const char *)data, size, count) != ERR_OK)
        return;
    fieldblock_t *b = mem_alloc(sizeof *b + size);
    b->size = (uint32_t)size;
    b->count = count;
    if (size > 0)
        memcpy(b->bytes, data, size);
    arena_init(&a, 0);
    CHECK(fieldblock_unpack(b, &a, &f) == ERR_OK && f.n == count);
    for (size_t i = 0; i < f.n; i++) {
        CHECK(fields_name_valid(f.v[i].name) && fields_value_valid(f.v[i].value));
        CHECK(fieldblock_get(b, f.v[i].name).p == fields_get(&f, f.v[i].name).p);
    }
    CHECK(fieldblock_pack(&f, &again) == ERR_OK);
    CHECK(again->size == b->size && memcmp(again->bytes, b->bytes, size) == 0);
    free(again);
    free(b);
    arena_release(&a);
}

static void hop_by_hop(span_t text)
{
    arena_t a;
    fields_t f;
    arena_init(&a, 0);
    fields_init(&f, &a);
    while (text.n > 0) {
        size_t end = span_find(text, '\n');
        span_t line = span_upto(text, end), name = span_upto(line, span_find(line, ':'));
        if (fields_add(&f, name, span_trim(span_from(line, name.n + 1))) != ERR_OK)
            break;
        text = span_from(text, end + 1);
    }
    size_t kept = fields_count(&f, SPAN("cache-control")) + fields_count(&f, SPAN("set-cookie"));
    fields_remove_hop_by_hop(&f);
    CHECK(!fields_has(&f, SPAN("connection")) && !fields_has(&f, SPAN("transfer-encoding")));
    CHECK(fields_count(&f, SPAN("cache-control")) + fields_count(&f, SPAN("set-cookie")) == kept);
    for (size_t i = 0; i < f.n; i++)
        fields_join(&f, f.v[i].name, &a);
    arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 2)
        block(data, size);
    hop_by_hop(span_of((const char *)data, size));
    return 0;
}
