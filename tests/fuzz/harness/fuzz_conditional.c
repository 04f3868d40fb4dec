/* A stored ETag (first line) and a request's lines "name: value". A client that sends the stored tag back as it came is
 * answered 304. */
#include "edge/base/check.h"
#include "edge/http/conditional.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_t a;
    fields_t f, echo;
    span_t text = span_of((const char *)data, size), etag = span_trim(span_upto(text, span_find(text, '\n')));
    const msec_t modified = 784111777000;
    arena_init(&a, 0);
    fields_init(&f, &a);
    fields_init(&echo, &a);
    text = span_from(text, span_find(text, '\n') + 1);
    while (text.n > 0) {
        size_t end = span_find(text, '\n');
        span_t line = span_upto(text, end), name = span_upto(line, span_find(line, ':'));
        if (fields_add(&f, name, span_trim(span_from(line, name.n + 1))) != ERR_OK)
            break;
        text = span_from(text, end + 1);
    }
    conditional_t get = conditional_evaluate(METHOD_GET, &f, etag, modified);
    conditional_t post = conditional_evaluate(METHOD_POST, &f, etag, modified);
    CHECK(post != CONDITIONAL_NOT_MODIFIED && (get != CONDITIONAL_FAILED || post == CONDITIONAL_FAILED));
    conditional_if_range(&f, etag, modified, modified + 1000);
    CHECK(conditional_if_range(&echo, etag, -1, -1));
    if (etag.n > 2 && etag.p[0] == '"' && span_find(span_from(etag, 1), '"') == etag.n - 2) {
        CHECK(fields_add(&echo, SPAN("if-none-match"), etag) == ERR_OK);
        CHECK(fields_add(&echo, SPAN("if-range"), etag) == ERR_OK);
        CHECK(conditional_evaluate(METHOD_GET, &echo, etag, -1) == CONDITIONAL_NOT_MODIFIED);
        CHECK(conditional_if_range(&echo, etag, -1, -1));
    }
    arena_release(&a);
    return 0;
}
