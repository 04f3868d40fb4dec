/* Answers that handlers build. RFC 9457; jansson reads what was written by hand. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "edge/http/handler.h"

static json_t *body_of(const handler_response_t *r)
{
    json_error_t error;
    json_t *json = json_loadb(r->body, r->body_len, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(json, "%s: %.*s", error.text, (int)r->body_len, r->body);
    return json;
}

Test(handler, problem)
{
    handler_response_t r = {0};
    handler_problem(&r, 422, "no selector", "give one of %s", "urls, tags");
    cr_expect_eq(r.status, 422);
    cr_expect_str_eq(r.content_type, "application/problem+json");
    json_t *json = body_of(&r);
    cr_expect_eq(json_object_size(json), 3);
    cr_expect_str_eq(json_string_value(json_object_get(json, "title")), "no selector");
    cr_expect_str_eq(json_string_value(json_object_get(json, "detail")), "give one of urls, tags");
    cr_expect_eq(json_integer_value(json_object_get(json, "status")), 422);
    json_decref(json);
    handler_response_release(&r);
}

Test(handler, problem_without_detail)
{
    handler_response_t r = {0};
    handler_problem(&r, 404, "not found", "%s", "");
    json_t *json = body_of(&r);
    cr_expect_null(json_object_get(json, "detail"));
    json_decref(json);
    handler_response_release(&r);
}

Test(handler, any_bytes_make_valid_json)
{
    for (int c = 1; c < 256; c++) {
        handler_response_t r = {0};
        char text[4] = {'a', (char)c, 'b', '\0'};
        handler_problem(&r, 400, text, "%s", text);
        json_t *json = body_of(&r);
        const char *got = json_string_value(json_object_get(json, "detail"));
        cr_expect_str_eq(got,
                         c < 128 ? text
                                 : "a\xef\xbf\xbd"
                                   "b",
                         "%d", c);
        cr_expect_str_eq(json_string_value(json_object_get(json, "title")), got);
        json_decref(json);
        handler_response_release(&r);
    }
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"x\xe2\x82", "x\xef\xbf\xbd\xef\xbf\xbd"},               /* cut */
        {"</script>\"\\", "</script>\"\\"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        handler_response_t r = {0};
        handler_problem(&r, 400, "t", "%s", rows[i].in);
        json_t *json = body_of(&r);
        cr_expect_str_eq(json_string_value(json_object_get(json, "detail")), rows[i].out, "row %zu", i);
        json_decref(json);
        handler_response_release(&r);
    }
}

Test(handler, a_long_detail_is_cut)
{
    char text[5000];
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    handler_response_t r = {0};
    handler_problem(&r, 400, "t", "%s", text);
    json_t *json = body_of(&r);
    cr_expect_eq(json_string_length(json_object_get(json, "detail")), 1023);
    json_decref(json);
    handler_response_release(&r);
}

Test(handler, text_and_extras)
{
    handler_response_t r = {0};
    handler_add(&r, "retry-after", "1");
    handler_problem(&r, 429, "too many", "%s", "later");
    handler_text(&r, 200, "text/plain", "abc", 3); /* the second body replaces the first */
    handler_add(&r, "allow", "GET");
    cr_expect_eq(r.status, 200);
    cr_expect_eq(r.body_len, 3);
    cr_expect_arr_eq(r.body, "abc", 3);
    cr_expect_str_eq(r.content_type, "text/plain");
    cr_expect_eq(r.extras, 2);
    cr_expect_str_eq(r.extra_name[0], "retry-after");
    cr_expect_str_eq(r.extra_value[0], "1");
    cr_expect_str_eq(r.extra_name[1], "allow");
    handler_response_release(&r);
    cr_expect_null(r.body);
    cr_expect_eq(r.extras, 0);
    handler_response_release(&r);
}
