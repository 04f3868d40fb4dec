/* Lines of the access log: exact text, hostile bytes, ceilings. JSON is read back with jansson, which is strict. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>

#include "edge/admin/accesslog.h"

static accesslog_record_t usual(void)
{
    return (accesslog_record_t){.time = 1700000000123,
                                .duration_us = 87,
                                .upstream_us = -1,
                                .bytes = 1234,
                                .status = 200,
                                .protocol = 20,
                                .client = SPAN("192.0.2.7"),
                                .method = SPAN("GET"),
                                .scheme = SPAN("https"),
                                .host = SPAN("www.example.com"),
                                .target = SPAN("/a?b=\"c\""),
                                .cache = SPAN("HIT"),
                                .cache_status = SPAN("edge-1; hit; ttl=57; detail=memory"),
                                .tier = SPAN("memory"),
                                .request_id = SPAN("00ff"),
                                .user_agent = SPAN("curl/7.88"),
                                .site = SPAN("www.example.com"),
                                .node = SPAN("edge-1")};
}

static char *line(accesslog_format_t format, const accesslog_record_t *r)
{
    char *buf = malloc(ACCESSLOG_LINE_MAX + 1);
    size_t n = accesslog_line(format, r, buf);
    cr_assert_leq(n, ACCESSLOG_LINE_MAX);
    buf[n] = '\0';
    cr_assert_eq(strlen(buf), n); /* no NUL inside */
    cr_assert_eq(strchr(buf, '\n'), buf + n - 1, "exactly one newline, at the end");
    return buf;
}

static json_t *parsed(const accesslog_record_t *r)
{
    char *text = line(ACCESSLOG_JSON, r);
    json_error_t e;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    cr_assert_not_null(j, "%s in %s", e.text, text);
    free(text);
    return j;
}

Test(accesslog_line, json)
{
    accesslog_record_t r = usual();
    char *text = line(ACCESSLOG_JSON, &r);
    cr_assert_str_eq(
        text, "{\"time\":\"2023-11-14T22:13:20.123Z\",\"status\":200,\"bytes\":1234,\"duration_us\":87,\"protocol\":"
              "\"HTTP/2\","
              "\"client\":\"192.0.2.7\",\"method\":\"GET\",\"scheme\":\"https\",\"host\":\"www.example.com\","
              "\"target\":\"/a?b=\\\"c\\\"\",\"cache\":\"HIT\",\"cache_status\":\"edge-1; hit; ttl=57; detail=memory\","
              "\"tier\":\"memory\",\"request_id\":\"00ff\",\"user_agent\":\"curl/7.88\",\"site\":\"www.example.com\","
              "\"node\":\"edge-1\"}\n");
    free(text);
    r.upstream = SPAN("http://10.0.0.1");
    r.upstream_us = 1500;
    r.referer = SPAN("");
    r.protocol = 10;
    json_t *j = parsed(&r);
    cr_assert_eq(json_integer_value(json_object_get(j, "upstream_us")), 1500);
    cr_assert_str_eq(json_string_value(json_object_get(j, "upstream")), "http://10.0.0.1");
    cr_assert_str_eq(json_string_value(json_object_get(j, "referer")), "");
    cr_assert_str_eq(json_string_value(json_object_get(j, "protocol")), "HTTP/1.0");
    json_decref(j);
}

Test(accesslog_line, json_of_hostile_bytes)
{
    static const struct {
        span_t in;
        const char *out;
    } rows[] = {
        {SPAN("\"\\/"), "\"\\/"},
        {SPAN("a\nb\tc\x01\x1f\x7f"), "a\nb\tc\x01\x1f\x7f"},
        {SPAN("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {SPAN("\xff"), "\xef\xbf\xbd"},
        {SPAN("a\xc3"), "a\xef\xbf\xbd"},                                               /* cut character */
        {SPAN("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong '/' */
        {SPAN("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* surrogate */
        {SPAN("\xf4\x90\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond U+10FFFF */
        {SPAN("\xe2\x82x"), "\xef\xbf\xbd\xef\xbf\xbdx"},
        {SPAN("\xf4\x8f\xbf\xbf\xef\xbf\xbf"), "\xf4\x8f\xbf\xbf\xef\xbf\xbf"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        accesslog_record_t r = usual();
        r.user_agent = rows[i].in;
        json_t *j = parsed(&r);
        cr_assert_str_eq(json_string_value(json_object_get(j, "user_agent")), rows[i].out, "row %zu", i);
        json_decref(j);
    }
    accesslog_record_t r = usual();
    r.target = span_of("/a\0b", 4);
    char *text = line(ACCESSLOG_JSON, &r);
    cr_assert_not_null(strstr(text, "\"/a\\u0000b\""));
    free(text);
}

Test(accesslog_line, every_byte_survives_json)
{
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)(i == 0 ? 1 : i); /* jansson refuses NUL unless told */
    accesslog_record_t r = usual();
    r.target = span_of(all, sizeof all);
    json_decref(parsed(&r));
}

Test(accesslog_line, combined)
{
    accesslog_record_t r = usual();
    char *text = line(ACCESSLOG_COMBINED, &r);
    cr_assert_str_eq(
        text,
        "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=\\\"c\\\" HTTP/2.0\" 200 1234 \"-\" \"curl/7.88\"\n");
    free(text);
    r.bytes = 0;
    r.status = 304;
    r.protocol = 11;
    r.referer = SPAN("");
    r.user_agent = SPAN("a\b\n\r\t\v\\\"\x01\x7f\xc3\xa9");
    text = line(ACCESSLOG_COMBINED, &r);
    cr_assert_str_eq(text, "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=\\\"c\\\" HTTP/1.1\" 304 - \"\" "
                           "\"a\\b\\n\\r\\t\\v\\\\\\\"\\x01\\x7f\\xc3\\xa9\"\n");
    free(text);
    r = (accesslog_record_t){.time = -5, .upstream_us = -1, .protocol = 10};
    r.user_agent = span_of("a\0", 2);
    text = line(ACCESSLOG_COMBINED, &r);
    cr_assert_str_eq(text, "- - - [01/Jan/1970:00:00:00 +0000] \"- - HTTP/1.0\" - - \"-\" \"a\\x00\"\n");
    free(text);
}

Test(accesslog_line, longest_fields_are_cut_and_fit)
{
    size_t big = 100000;
    char *bytes = malloc(big);
    memset(bytes, 1, big);                                    /* each becomes six characters of JSON */
    accesslog_record_t r = {.time = INT64_C(253402300799999), /* the end of the year 9999 */
                            .duration_us = INT64_MIN,
                            .upstream_us = INT64_MAX,
                            .bytes = INT64_MAX,
                            .status = 999,
                            .protocol = 11};
#define X(name, most) r.name = span_of(bytes, big);
    ACCESSLOG_TEXTS(X)
#undef X
    json_t *j = parsed(&r);
    cr_assert_eq(json_string_length(json_object_get(j, "target")), 8192);
    cr_assert_eq(json_string_length(json_object_get(j, "node")), 256);
    cr_assert_eq(json_integer_value(json_object_get(j, "duration_us")), INT64_MIN);
    json_decref(j);
    free(line(ACCESSLOG_COMBINED, &r));
    free(bytes);
}

Test(accesslog_line, statuses_and_words_to_choose_by)
{
    static const struct {
        const char *text;
        int from, to; /* -1: refused */
    } rows[] = {{"404", 404, 404}, {"5xx", 500, 599}, {"1XX", 100, 199}, {"599", 599, 599}, {"0", 0, 0},  {"6xx", -1, -1},
                {"0xx", -1, -1},   {"600", -1, -1},   {"099", -1, -1},   {"4x4", -1, -1},   {"", -1, -1}, {"4xxx", -1, -1},
                {"40", -1, -1},    {"-04", -1, -1},   {"4x", -1, -1},    {"00", -1, -1},    {"x", -1, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int from = -1, to = -1;
        bool good = accesslog_statuses(span_str(rows[i].text), &from, &to);
        cr_expect_eq(good, rows[i].from >= 0, "%s", rows[i].text);
        cr_expect(!good || (from == rows[i].from && to == rows[i].to), "%s: %d to %d", rows[i].text, from, to);
    }
    cr_expect(accesslog_is_cache_word(SPAN("HIT")) && accesslog_is_cache_word(SPAN("revalidated")));
    cr_expect_not(accesslog_is_cache_word(SPAN("FOO")));
    cr_expect_not(accesslog_is_cache_word(SPAN("")));
    size_t n = 0;
    for (unsigned i = 0; accesslog_cache_word(i).p != NULL; i++, n++)
        cr_expect_not_null(strstr(ACCESSLOG_CACHE_WORDS, accesslog_cache_word(i).p), "it is among those that are told");
    cr_expect_eq(n, 6);
}
