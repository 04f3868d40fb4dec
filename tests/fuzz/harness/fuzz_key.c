/* Keys: the input is flags, then host, target and Cookie, one a line. Whatever gets a key gets the same one again from
 * its normal form, and purges by URL meet it. */
#include <stdint.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/policy/invalidate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static span_t take_line(span_t *rest)
{
    size_t end = span_find(*rest, '\n');
    span_t line = span_upto(*rest, end);
    *rest = span_from(*rest, end + 1);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const span_t names[] = {SPAN("utm_*"), SPAN("q"), SPAN("caf\xc3\xa9")}, cookies[] = {SPAN("lang"), SPAN("ab")};
    const key_rules_t rules = {.query = (key_query_t)(data[0] & 3),
                               .query_names = names,
                               .query_names_n = 3,
                               .sort = (data[0] & 4) != 0,
                               .cookies = cookies,
                               .cookies_n = (data[0] & 8) != 0 ? 2 : 0};
    arena_t a;
    arena_init(&a, 8 << 20);
    char *copy = malloc(size); /* exact, so that a read beyond the end shows */
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    span_t rest = span_from(span_of(copy, size), 1);
    span_t host = take_line(&rest), target = take_line(&rest), cookie = take_line(&rest);
    fields_t request;
    fields_init(&request, &a);
    if (fields_value_valid(cookie))
        fields_add(&request, SPAN("cookie"), cookie);

    cache_key_t key, again;
    span_t scheme = (data[0] & 16) != 0 ? SPAN("https") : SPAN("http"), uri;
    digest_t digest;
    err_t e = key_make(&a, scheme, host, target, &rules, &request, &key);
    CHECK(e == ERR_OK || e == ERR_SYNTAX || e == ERR_TOO_BIG);
    if (e == ERR_OK) {
        CHECK(key.uri.n <= KEY_MAX_URI && key.path.n > 0 && key.path.p[0] == '/');
        span_t normal = span_from(key.uri, key.host.n);
        CHECK(key_make(&a, key.scheme, key.host, normal, &rules, &request, &again) == ERR_OK);
        CHECK(span_eq(key.text, again.text) && hash_eq(key.digest, again.digest));
        CHECK(key_make(&a, key.scheme, key.host, normal, &rules, NULL, &again) == ERR_OK);
        CHECK(span_eq(key.uri, again.uri));
        CHECK(key_from_url(&a, again.text, &rules, &uri, &digest) == ERR_OK);
        CHECK(span_eq(uri, key.uri) && hash_eq(digest, key.uri_digest));

        /* What is left of the input is a Location. */
        fields_t response;
        span_t uris[INVALIDATE_MAX];
        digest_t digests[INVALIDATE_MAX];
        fields_init(&response, &a);
        if (fields_value_valid(rest))
            fields_add(&response, SPAN("location"), span_trim(rest));
        int n = invalidate_targets(METHOD_POST, 201, &key, &response, &rules, &a, uris, digests);
        CHECK(n >= 1 && n <= INVALIDATE_MAX);
        for (int i = 0; i < n; i++)
            CHECK(span_starts(uris[i], key.host) && uris[i].p[key.host.n] == '/');
    }
    key_from_url(&a, target, &rules, &uri, &digest);
    free(copy);
    arena_release(&a);
    return 0;
}
