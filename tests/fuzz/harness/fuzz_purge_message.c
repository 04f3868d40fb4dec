/* Bodies and payloads of purges from anyone who may publish. What is accepted must be writable, and what was written
 * must be accepted again as the same, for nodes recognise messages by their bytes. The first byte chooses who speaks.
 */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/policy/key.h"
#include "purge/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static err_t normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *digest)
{
    (void)ctx;
    return key_from_url(a, url, &(key_rules_t){.query = KEY_QUERY_ALL}, uri, digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_t a;
    message_t m, again;
    message_error_t e = {0};
    message_compiled_t c;
    span_t bad, text = size > 0 ? span_of((const char *)data + 1, size - 1) : SPAN_NONE;
    arena_init(&a, 0);
    err_t r = size == 0 ? ERR_SYNTAX
              : data[0] == 'p'
                  ? message_parse_payload(text, &a, &m, &e)
                  : message_parse(text, data[0] == 's' ? MESSAGE_FROM_STREAM : MESSAGE_FROM_CLIENT, &a, &m, &e);
    if (r != ERR_OK) {
        CHECK(size == 0 || ((e.status == 400 || e.status == 413 || e.status == 422) && e.text[0] != '\0'));
    } else {
        size_t n, n2;
        char *json = message_format(&m, &n);
        CHECK(json != NULL);
        if (n <= MESSAGE_MAX_BYTES) {
            CHECK(message_parse(span_of(json, n), MESSAGE_FROM_STREAM, &a, &again, &e) == ERR_OK);
            char *twice = message_format(&again, &n2);
            CHECK(twice != NULL && n2 == n && memcmp(json, twice, n) == 0);
            free(twice);
        }
        CHECK(message_compile(&m, normalise, NULL, true, &a, &c, &bad) == ERR_OK);
        CHECK(c.n + c.left_out > 0 && c.level > MARK_NONE);
        free(json);
    }
    arena_release(&a);
    return 0;
}
