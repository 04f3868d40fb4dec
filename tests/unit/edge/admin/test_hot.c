/* What is asked for most: found among any number of others, with what it was counted over by. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/admin/hot.h"

static void ask(hot_t *h, unsigned worker, const char *url, bool hit, msec_t boot)
{
    hot_count(h, worker, hash_digest(span_str(url)), span_str(url), hit, 100, boot);
}

static json_t *told(hot_t *h, size_t most, msec_t boot)
{
    size_t n;
    char *text = hot_json(h, most, boot, &n);
    json_t *j = json_loads(text, 0, NULL);
    cr_assert_not_null(j, "%s", text);
    cr_expect_eq(strlen(text), n);
    free(text);
    return j;
}

static const json_t *url(const json_t *j, size_t i)
{
    return json_array_get(json_object_get(j, "urls"), i);
}

static double number(const json_t *u, const char *name)
{
    return json_number_value(json_object_get(u, name));
}

static void is(const json_t *u, const char *name, double rate, double slack)
{
    cr_assert_not_null(u);
    cr_expect_str_eq(json_string_value(json_object_get(u, "url")), name);
    double r = number(u, "requests_per_second");
    cr_expect(r >= rate - slack && r <= rate + slack, "%s: %g", name, r);
    cr_expect_leq(number(u, "at_least"), r);
}

Test(hot, workers_are_added_up)
{
    hot_t *h = hot_new(2, 100000);
    for (int i = 0; i < 50; i++) {
        ask(h, 0, "a/x", i % 2 == 0, 100000);
        ask(h, 1, "a/x", true, 101000);
        ask(h, 1, "a/y", false, 101000);
    }
    json_t *j = told(h, 10, 102000);
    cr_expect_eq(json_array_size(json_object_get(j, "urls")), 2);
    is(url(j, 0), "a/x", 50, 0.1);
    is(url(j, 1), "a/y", 25, 0.1);
    cr_expect_float_eq(number(url(j, 0), "hit_ratio"), 0.75, 0.001);
    cr_expect_float_eq(number(url(j, 0), "bytes_per_second"), 5000, 1);
    json_decref(j);
    j = told(h, 1, 102000);
    cr_expect_eq(json_array_size(json_object_get(j, "urls")), 1);
    json_decref(j);
    hot_free(h);
}

Test(hot, it_forgets)
{
    hot_t *h = hot_new(1, 0);
    ask(h, 0, "a/x", true, 10 * HOT_WINDOW);
    json_t *j = told(h, 10, 11 * HOT_WINDOW);
    cr_expect_eq(json_array_size(json_object_get(j, "urls")), 1);
    json_decref(j);
    j = told(h, 10, 12 * HOT_WINDOW);
    cr_expect_eq(json_array_size(json_object_get(j, "urls")), 0);
    json_decref(j);
    ask(h, 0, "a/y", true, 12 * HOT_WINDOW); /* in the same place */
    j = told(h, 10, 12 * HOT_WINDOW + 100);
    cr_expect_eq(json_array_size(json_object_get(j, "urls")), 1);
    json_decref(j);
    hot_free(h);
}

Test(hot, a_flood_of_others_and_a_busy_worker)
{
    hot_t *h = hot_new(1, 0);
    char other[32], long_url[HOT_KEY_BYTES + 50];
    memset(long_url, 'x', sizeof long_url);
    for (msec_t t = 0; t < 4000; t++)
        for (int i = 0; i < 50; i++) {
            ask(h, 0, i % 5 == 0 ? "a/hot" : (snprintf(other, sizeof other, "a/%lld", (long long)t * 50 + i), other),
                true, t);
            if (i == 7)
                hot_count(h, 0, hash_digest(SPAN("long")), span_of(long_url, sizeof long_url), true, 1, t);
        }
    json_t *j = told(h, 100, 4000);
    is(url(j, 0), "a/hot", 10000, 2500);
    cr_expect_leq(json_array_size(json_object_get(j, "urls")), HOT_MOST);
    cr_expect_gt(number(url(j, 0), "at_least"), 7500, "counted, not taken over");
    json_decref(j);
    hot_free(h);
}

/* Clients that ask in rounds whose length divides what is looked at. */
Test(hot, rounds)
{
    hot_t *h = hot_new(1, 0);
    for (msec_t t = 0; t < 4000; t++)
        for (int i = 0; i < 32; i++)
            ask(h, 0, i % 4 == 0 ? "a/x" : "a/y", true, t);
    json_t *j = told(h, 10, 4000);
    is(url(j, 0), "a/y", 24000, 4000);
    is(url(j, 1), "a/x", 8000, 3000);
    json_decref(j);
    hot_free(h);
}

Test(hot, any_bytes)
{
    hot_t *h = hot_new(1, 0);
    ask(h, 0, "a/\xff\"\x01", true, 0);
    json_t *j = told(h, 10, 1000);
    cr_expect_str_eq(json_string_value(json_object_get(url(j, 0), "url")), "a/\xef\xbf\xbd\"\x01");
    json_decref(j);
    hot_free(h);
}
