/* Which responses are given a content coding. */
#include <criterion/criterion.h>

#include "edge/policy/codable.h"

Test(codable, rows)
{
    static const struct {
        const char *type, *name, *value;
        codable_t is;
    } rows[] = {
        {"text/html; charset=utf-8", "etag", "\"a\"", CODABLE_YES},
        {"TEXT/Plain", NULL, NULL, CODABLE_YES},
        {"application/json", NULL, NULL, CODABLE_YES},
        {"application/problem+json", NULL, NULL, CODABLE_YES},
        {"image/svg+xml", NULL, NULL, CODABLE_YES},
        {"application/atom+xml;type=feed", NULL, NULL, CODABLE_YES},
        {"application/openapi+yaml", NULL, NULL, CODABLE_YES},
        {"application/some+text", NULL, NULL, CODABLE_YES},
        {"application/wasm", NULL, NULL, CODABLE_YES},
        {"font/ttf", NULL, NULL, CODABLE_YES},
        {"text/event-stream", NULL, NULL, CODABLE_TYPE},
        {"text/", NULL, NULL, CODABLE_TYPE},
        {"+json", NULL, NULL, CODABLE_TYPE},
        {"font/woff2", NULL, NULL, CODABLE_TYPE},
        {"image/jpeg", NULL, NULL, CODABLE_TYPE},
        {"application/octet-stream", NULL, NULL, CODABLE_TYPE},
        {"", NULL, NULL, CODABLE_TYPE},
        {"text/css", "content-type", "image/png", CODABLE_TYPE},
        {"text/css", "content-encoding", "gzip", CODABLE_CODED},
        {"text/css", "content-encoding", "identity", CODABLE_CODED},
        {"text/css", "content-range", "bytes 0-1/2", CODABLE_STATUS},
        {"text/css", "cache-control", "max-age=5, No-Transform", CODABLE_NO_TRANSFORM},
        {"text/css", "cache-control", "max-age=5", CODABLE_YES},
        {"text/css", "content-md5", "x", CODABLE_DIGEST},
        {"text/css", "repr-digest", "sha-256=:x:", CODABLE_DIGEST},
        {"text/css", "content-digest", "sha-256=:x:", CODABLE_DIGEST},
        {"text/css", "digest", "sha-256=x", CODABLE_DIGEST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        field_t v[] = {{SPAN("content-type"), span_str(rows[i].type)},
                       {span_str(rows[i].name), span_str(rows[i].value)}};
        fields_t f = {.v = v, .n = rows[i].name != NULL ? 2 : 1};
        codable_t is = codable_decide(200, &f);
        cr_expect_eq(is, rows[i].is, "%s, %s: %s", rows[i].type, rows[i].name, codable_word(is));
        cr_expect(codable_decide(206, &f) == CODABLE_STATUS && codable_decide(404, &f) == CODABLE_STATUS);
        cr_expect(codable_says(is)[0] != '\0' && codable_section(is)[0] != '\0');
    }
    fields_t none = {0};
    cr_expect_eq(codable_decide(200, &none), CODABLE_TYPE);
}
