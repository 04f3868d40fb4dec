/* A response head as an upstream sends it, split into lines behind each LF. What is taken as final must be what any
 * strict reader would take: names and values that can be stored, one way of framing at most, within the ceilings. */
#include <stdint.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/fetch/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    span_t text = span_of((const char *)data, size);
    head_t h;
    head_init(&h);
    for (head_verdict_t v = HEAD_MORE; text.n > 0 && (v == HEAD_MORE || v == HEAD_INFORMATIONAL);) {
        size_t n = span_find(text, '\n');
        n += n < text.n;
        v = head_line(&h, span_upto(text, n));
        text = span_from(text, n);
        CHECK(h.bytes <= FIELDS_MAX_BYTES || v == HEAD_OVER);
        if (v != HEAD_INFORMATIONAL && v != HEAD_FINAL)
            continue;
        fieldblock_t *block;
        CHECK(fieldblock_pack(&h.fields, &block) == ERR_OK);
        free(block);
        CHECK(v == HEAD_FINAL ? h.status >= 200 && h.status <= 599 : h.status >= 100 && h.status < 200);
        CHECK(h.status != 101 && h.content_length >= -1 && !(h.chunked && (h.content_length >= 0 || h.minor == 0)));
        CHECK(!fields_has(&h.fields, SPAN("content-length")) && !fields_has(&h.fields, SPAN("transfer-encoding")) &&
              !fields_has(&h.fields, SPAN("connection")));
    }
    head_release(&h);
    return 0;
}
