/* Bodies of purges: what is accepted, what is refused with which status and words, and that reading what was written
 * gives the same. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "purge/message.h"

static arena_t a;

static void setup(void)
{
    arena_init(&a, 0);
}
static void teardown(void)
{
    arena_release(&a);
}
TestSuite(message, .init = setup, .fini = teardown, .timeout = 60);

Test(message, reads_everything)
{
    message_t m;
    message_error_t e;
    span_t body = SPAN("{\"urls\":[\"http://h/a\"],\"files\":[\"https://h/"
                       "b\"],\"tags\":[\"t1\",\"t2\"],\"prefixes\":[\"https://WWW.Example.com/Blog/\"],"
                       "\"hosts\":[\"Www.Example.COM.\"],\"purge_everything\":true,\"soft\":true,\"wait\":\"fleet\","
                       "\"timeout\":\"250ms\"}");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_OK, "%s", e.text);
    cr_assert_eq(m.urls.n, 2);
    cr_assert(span_eq(m.urls.v[0], SPAN("http://h/a")) && span_eq(m.urls.v[1], SPAN("https://h/b")));
    cr_assert_eq(m.tags.n, 2);
    cr_assert(span_eq(m.prefixes.v[0], SPAN("www.example.com/Blog/")));
    cr_assert(span_eq(m.hosts.v[0], SPAN("www.example.com")));
    cr_assert(m.everything && m.soft && !m.gap);
    cr_assert_eq(m.wait, MESSAGE_WAIT_FLEET);
    cr_assert_eq(m.timeout, 250);
}

Test(message, refuses_with_reason)
{
    static const struct {
        const char *body;
        int status;
        const char *says;
    } rows[] = {
        {"", 400, "JSON"},
        {"{", 400, "line 1"},
        {"[]", 400, "object"},
        {"{\"tags\":[\"a\"]} x", 400, "JSON"},
        {"{\"tag\":[\"a\"]}", 400, "\"tag\""},
        {"{\"gap\":true}", 400, "\"gap\""},
        {"{\"tags\":[\"a\"],\"sites\":[\"h\"]}", 400, "\"sites\""},
        {"{\"tags\":[\"a\"],\"tags\":[\"b\"]}", 400, "duplicate"},
        {"{}", 422, "no selector"},
        {"{\"everything\":false}", 422, "no selector"},
        {"{\"tags\":[]}", 422, "no selector"},
        {"{\"tags\":\"a\"}", 422, "list"},
        {"{\"tags\":[1]}", 422, "[0]"},
        {"{\"tags\":[\"\"]}", 422, "tags[0]"},
        {"{\"tags\":[\"a\",\"b\\u0001\"]}", 422, "tags[1]"},
        {"{\"tags\":[\"a\\u0000b\"]}", 422, "tags[0]"},
        {"{\"urls\":[\"/a\"]}", 422, "http://"},
        {"{\"urls\":[\"ftp://h/a\"]}", 422, "http://"},
        {"{\"hosts\":[\"h/a\"]}", 422, "hosts[0]"},
        {"{\"hosts\":[\"*\"]}", 422, "hosts[0]"},
        {"{\"hosts\":[\"a..b\"]}", 422, "hosts[0]"},
        {"{\"hosts\":[\"h:http\"]}", 422, "hosts[0]"},
        {"{\"prefixes\":[\"\"]}", 422, "prefixes[0]"},
        {"{\"prefixes\":[\"h/ok\",\"h/a b\"]}", 422, "prefixes[1]"},
        {"{\"prefixes\":[\"h/%zz/\"]}", 422, "prefixes[0]"},
        {"{\"prefixes\":[\"h/a#b\"]}", 422, "prefixes[0]"},
        {"{\"prefixes\":[\"/a\"]}", 422, "prefixes[0]"},
        {"{\"everything\":1}", 422, "true or false"},
        {"{\"everything\":true,\"wait\":\"all\"}", 422, "wait"},
        {"{\"everything\":true,\"timeout\":\"2\"}", 422, "timeout"},
        {"{\"everything\":true,\"timeout\":2}", 422, "timeout"},
        {"{\"everything\":true,\"timeout\":\"-2s\"}", 422, "timeout"},
        {"{\"everything\":true,\"timeout\":\"99999999999999999999s\"}", 422, "timeout"},
        {"{\"everything\":true,\"timeout\":\"11m\"}", 422, "timeout"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        message_t m;
        message_error_t e = {0};
        cr_expect_lt(message_parse(span_str(rows[i].body), MESSAGE_FROM_CLIENT, &a, &m, &e), 0, "%s", rows[i].body);
        cr_expect_eq(e.status, rows[i].status, "%s: %d %s", rows[i].body, e.status, e.text);
        cr_expect(strstr(e.text, rows[i].says) != NULL, "%s: \"%s\" doesn't say \"%s\"", rows[i].body, e.text,
                  rows[i].says);
    }
}

static size_t many(char *to, size_t n, const char *value)
{
    size_t at = (size_t)sprintf(to, "{\"tags\":[");
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(to + at, "%s\"%s\"", i > 0 ? "," : "", value);
    return at + (size_t)sprintf(to + at, "]}");
}

Test(message, ceilings)
{
    char *body = malloc(2 * MESSAGE_MAX_BYTES), longest[TAG_MAX_BYTES + 2];
    message_t m;
    message_error_t e;
    cr_assert_eq(message_parse(span_of(body, many(body, MESSAGE_MAX_VALUES, "t")), MESSAGE_FROM_CLIENT, &a, &m, &e),
                 ERR_OK);
    cr_assert_eq(m.tags.n, MESSAGE_MAX_VALUES);
    cr_assert_eq(message_parse(span_of(body, many(body, MESSAGE_MAX_VALUES + 1, "t")), MESSAGE_FROM_CLIENT, &a, &m, &e),
                 ERR_TOO_BIG);
    cr_assert_eq(e.status, 413);
    memset(body, ' ', MESSAGE_MAX_BYTES + 1);
    memcpy(body, "{\"everything\":true}", 19);
    cr_assert_eq(message_parse(span_of(body, MESSAGE_MAX_BYTES), MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_parse(span_of(body, MESSAGE_MAX_BYTES + 1), MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_TOO_BIG);
    memset(longest, 'x', sizeof longest);
    longest[TAG_MAX_BYTES] = '\0';
    cr_assert_eq(message_parse(span_of(body, many(body, 1, longest)), MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_OK);
    longest[TAG_MAX_BYTES] = 'x';
    longest[TAG_MAX_BYTES + 1] = '\0';
    cr_assert_eq(message_parse(span_of(body, many(body, 1, longest)), MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_RANGE);
    cr_assert_eq(e.status, 422);
    free(body);
}

Test(message, payloads_of_the_channel)
{
    message_t m;
    message_error_t e;
    cr_assert_eq(message_parse_payload(SPAN("product:123"), &a, &m, &e), ERR_OK);
    cr_assert(m.tags.n == 1 && span_eq(m.tags.v[0], SPAN("product:123")) && m.urls.n == 0);
    cr_assert_eq(message_parse_payload(SPAN("two words"), &a, &m, &e), ERR_OK);
    cr_assert(span_eq(m.tags.v[0], SPAN("two words")));
    cr_assert_eq(message_parse_payload(SPAN("https://h/a b"), &a, &m, &e), ERR_OK);
    cr_assert(m.urls.n == 1 && m.tags.n == 0);
    cr_assert_eq(message_parse_payload(SPAN("HTTP://h/a"), &a, &m, &e), ERR_OK);
    cr_assert_eq(m.urls.n, 1);
    cr_assert_eq(message_parse_payload(SPAN("{\"everything\":true,\"soft\":true}"), &a, &m, &e), ERR_OK);
    cr_assert(m.everything && m.soft);
    cr_assert_lt(message_parse_payload(SPAN("{\"tags\":"), &a, &m, &e), 0);
    cr_assert_lt(message_parse_payload(SPAN(""), &a, &m, &e), 0);
    cr_assert_lt(message_parse_payload(SPAN("\xff\xfe"), &a, &m, &e), 0);
    cr_assert_eq(message_parse_payload(SPAN("caf\xc3\xa9"), &a, &m, &e), ERR_OK);
}

Test(message, equal_messages_have_equal_bytes)
{
    message_t m, again;
    message_error_t e;
    size_t n, n2;
    span_t body = SPAN("{ \"soft\":true, \"wait\":\"local\", \"hosts\":[\"H\"], \"tags\":[\"b\",\"a\\\"\"], "
                       "\"files\":[\"http://h/x\"], "
                       "\"sites\":[\"*.h\"], \"everything\":true, \"prefixes\":[\"h/p\"] }");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_STREAM, &a, &m, &e), ERR_OK, "%s", e.text);
    char *text = message_format(&m, &n);
    cr_assert_str_eq(text,
                     "{\"urls\":[\"http://h/x\"],\"tags\":[\"b\",\"a\\\"\"],\"prefixes\":[\"h/p\"],\"hosts\":[\"h\"],"
                     "\"everything\":true,\"sites\":[\"*.h\"],\"soft\":true}");
    cr_assert_eq(message_parse(span_of(text, n), MESSAGE_FROM_STREAM, &a, &again, &e), ERR_OK, "%s", e.text);
    char *twice = message_format(&again, &n2);
    cr_assert_str_eq(text, twice);
    free(text);
    free(twice);
}

static err_t normalise(void *ctx, arena_t *arena, span_t url, span_t *uri, digest_t *digest)
{
    (void)ctx;
    return key_from_url(arena, url, &(key_rules_t){.query = KEY_QUERY_NONE}, uri, digest);
}

Test(message, prefixes_and_hosts_are_in_normal_form)
{
    static const char *const rows[][2] = {
        {"h/\u00e4", "h/%C3%A4"},
        {"h/%c3%a4/", "h/%C3%A4/"},
        {"h/%41/", "h/A/"},
        {"h/a/../b", "h/b"},
        {"h/./a", "h/a"},
        {"h/a/..", "h/a/.."},
        {"h/.", "h/."},
        {"h/a/..?q=/../x", "h/?q=/../x"},
        {"h/%c", "h/%C"},
        {"h/a%", "h/a%"},
        {"h/%2f", "h/%2F"},
        {"H.:080/A", "h:80/A"},
        {"http://H:8080/", "h:8080/"},
        {"[::0001]/", "[::1]/"},
        {"Www.Exam", "www.exam"},
        {"h/?a=%7e", "h/?a=~"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[200];
        message_t m;
        message_error_t e = {0};
        int n = snprintf(body, sizeof body, "{\"prefixes\":[\"%s\"]}", rows[i][0]);
        cr_assert_eq(message_parse(span_of(body, (size_t)n), MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_OK, "%s", e.text);
        cr_expect(span_eq(m.prefixes.v[0], span_str(rows[i][1])), "%s: %.*s", rows[i][0], SPAN_ARG(m.prefixes.v[0]));
    }
}

/* https://h:80/ has its port in the key, http://h:80/ has not. */
Test(message, default_ports_are_meant_with_and_without)
{
    message_t m;
    message_error_t e;
    message_compiled_t c;
    span_t bad;
    span_t body = SPAN("{\"prefixes\":[\"h:443/p\"],\"hosts\":[\"H:80\",\"h:81\"]}");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_CLIENT, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_compile(&m, normalise, NULL, false, &a, &c, &bad), ERR_OK);
    cr_assert_eq(c.n, 5);
    cr_assert(hash_eq(c.values[0].digest, hash_digest(SPAN("h:443/p"))) && c.values[0].length == 7);
    cr_assert(hash_eq(c.values[1].digest, hash_digest(SPAN("h/p"))) && c.values[1].length == 3);
    cr_assert(hash_eq(c.values[2].digest, hash_digest(SPAN("h:80"))));
    cr_assert(hash_eq(c.values[3].digest, hash_digest(SPAN("h"))) && c.values[3].kind == LEDGER_HOST);
    cr_assert(hash_eq(c.values[4].digest, hash_digest(SPAN("h:81"))));
}

Test(message, compiles_to_values)
{
    message_t m;
    message_error_t e;
    message_compiled_t c;
    span_t bad;
    span_t body = SPAN("{\"urls\":[\"http://H/a?q=1\"],\"tags\":[\"t\"],\"prefixes\":[\"h/"
                       "p\"],\"hosts\":[\"h\"],\"everything\":true}");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_STREAM, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_compile(&m, normalise, NULL, false, &a, &c, &bad), ERR_OK);
    cr_assert_eq(c.n, 5);
    cr_assert_eq(c.level, MARK_HARD);
    cr_assert(c.values[0].kind == LEDGER_URL && hash_eq(c.values[0].digest, key_uri_digest(SPAN("h/a"))));
    cr_assert(c.values[1].kind == LEDGER_PREFIX && c.values[1].length == 3);
    cr_assert(c.values[2].kind == LEDGER_HOST && c.values[3].kind == LEDGER_TAG && c.values[4].kind == LEDGER_ALL);
    body = SPAN("{\"tags\":[\"t\",\"u\"],\"everything\":true,\"soft\":true,\"sites\":[\"a\",\"b\"]}");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_STREAM, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_compile(&m, normalise, NULL, false, &a, &c, &bad), ERR_OK);
    cr_assert_eq(c.n, 6);
    cr_assert_eq(c.level, MARK_SOFT);
    for (size_t i = 0; i < 6; i++)
        cr_assert_eq(c.values[i].kind, i < 4 ? LEDGER_SITE_TAG : LEDGER_SITE);
    cr_assert_eq(message_parse(SPAN("{\"gap\":true}"), MESSAGE_FROM_STREAM, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_compile(&m, normalise, NULL, false, &a, &c, &bad), ERR_OK);
    cr_assert(c.n == 1 && c.values[0].kind == LEDGER_ALL && c.level == MARK_STRICT);
    body = SPAN("{\"urls\":[\"http://h/ok\",\"http:///\"]}");
    cr_assert_eq(message_parse(body, MESSAGE_FROM_STREAM, &a, &m, &e), ERR_OK);
    cr_assert_eq(message_compile(&m, normalise, NULL, false, &a, &c, &bad), ERR_RANGE);
    cr_assert(span_eq(bad, SPAN("http:///")));
    cr_assert_eq(message_compile(&m, normalise, NULL, true, &a, &c, &bad), ERR_OK);
    cr_assert(c.n == 1 && c.left_out == 1);
}
