/* The members of /v1/explain, and what came from outside in them. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>

#include "edge/admin/explanation.h"

static json_t *parsed(const explanation_t *e)
{
    size_t n;
    char *text = explanation_json(e, &n);
    cr_assert_eq(strlen(text), n);
    json_error_t err;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &err);
    cr_assert_not_null(j, "%s: %s", err.text, text);
    free(text);
    return j;
}

static const char *text(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static const why_rule_t reason = {"fresh", "RFC 9111 4.2", "it is fresh", "hit"};

Test(explanation, full)
{
    field_t v[] = {{SPAN("if-none-match"), SPAN("\"\xff\"")}};
    fields_t validators = {.v = v, .n = 1, .cap = 1};
    explanation_field_t vary[] = {{SPAN("a"), SPAN("b"), true}, {SPAN("c"), SPAN_NONE, false}};
    explanation_stored_t stored[] = {
        {.tier = "memory",
         .chosen = true,
         .status = 200,
         .stored_at = 784111777000,
         .age = 1500,
         .lifetime = 60000,
         .lifetime_from = "max-age",
         .lifetime_section = "RFC 9111 5.2.2.1",
         .lifetime_field = "Cache-Control",
         .says = {"immutable"},
         .says_n = 1,
         .etag = SPAN("\"x\""),
         .length = -1,
         .vary = vary,
         .vary_n = 2,
         .purge = "none",
         .storing = reason},
        {.tier = "disk", .lifetime = 7000, .lifetime_now = 3000, .purge = "soft", .storing = reason},
        {.tier = "memory", .note = true, .lifetime = 5000, .purge = "none", .storing = reason}};
    conf_rule_view_t rule = {
        .path = SPAN("/a/**"), .values = RULES_DEFAULT, .cache = -1, .override_private = 1, .must_sign = -1};
    rules_t settings = RULES_DEFAULT;
    why_t why = {.rule = {reason, {"a", "b", "c", NULL}}, .n = 2};
    settings.ttl = 250;
    explanation_t e = {.node = SPAN("n"),
                       .url = SPAN("http://a/\xe4\0z"),
                       .at = 784111777000,
                       .rules = &rule,
                       .rules_n = 1,
                       .settings = &settings,
                       .decision = "refuse",
                       .status = 421,
                       .because = reason,
                       .cache_status = SPAN("n; hit"),
                       .why = &why,
                       .stored = stored,
                       .stored_n = 3,
                       .asks = "before",
                       .joins = true,
                       .stale_on_error = true,
                       .validators = &validators};
    json_t *j = parsed(&e);
    cr_expect_eq(json_string_length(json_object_get(j, "url")), strlen("http://a/") + 3 + 3 + 1, "U+FFFD twice, z");
    cr_expect(json_is_null(json_object_get(j, "site")) && json_is_null(json_object_get(j, "key")));
    cr_expect_str_eq(text(j, "at"), "Sun, 06 Nov 1994 08:49:37 GMT");
    cr_expect_eq(json_integer_value(json_object_get(j, "status")), 421);
    cr_expect_str_eq(text(json_object_get(j, "because"), "section"), "RFC 9111 4.2");
    const json_t *rules = json_object_get(j, "rules");
    cr_expect(json_is_true(json_object_get(json_array_get(rules, 0), "holds")));
    cr_expect(json_is_null(json_object_get(json_array_get(rules, 1), "then")));
    const json_t *site = json_array_get(json_object_get(j, "site_rules"), 0);
    cr_expect_eq(json_object_size(site), 2, "only what it sets");
    cr_expect(json_is_true(json_object_get(site, "override_private")));
    cr_expect_float_eq(json_real_value(json_object_get(json_object_get(j, "settings"), "ttl")), 0.25, 1e-9);
    const json_t *all = json_object_get(j, "stored"), *s = json_array_get(all, 0);
    cr_expect_float_eq(json_real_value(json_object_get(s, "ttl")), 58.5, 1e-9);
    cr_expect(json_is_null(json_object_get(s, "length")) && json_is_null(json_object_get(s, "last_modified")));
    cr_expect_str_eq(text(json_object_get(s, "lifetime_from"), "field"), "Cache-Control");
    cr_expect(json_is_null(json_object_get(json_array_get(json_object_get(s, "vary"), 1), "value")));
    s = json_array_get(all, 1);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(s, "lifetime_from"), "now")), 3);
    s = json_array_get(all, 2);
    cr_expect_str_eq(text(json_object_get(s, "not_stored"), "reason"), "fresh");
    cr_expect_null(json_object_get(s, "status"));
    const json_t *up = json_object_get(j, "upstream");
    cr_expect_str_eq(text(json_object_get(up, "validators"), "if-none-match"), "\"\xef\xbf\xbd\"");
    cr_expect_str_eq(text(up, "on_error"), "stale");
    json_decref(j);
}

Test(explanation, nothing)
{
    fields_t none = {0};
    why_t why = {.n = 0};
    explanation_t e = {.decision = "miss", .because = reason, .why = &why, .asks = "no", .validators = &none};
    json_t *j = parsed(&e);
    cr_expect_null(json_object_get(j, "status"));
    cr_expect_null(json_object_get(j, "settings"));
    cr_expect_eq(json_array_size(json_object_get(j, "stored")), 0);
    cr_expect_str_eq(text(json_object_get(j, "upstream"), "on_error"), "error");
    json_decref(j);
}
