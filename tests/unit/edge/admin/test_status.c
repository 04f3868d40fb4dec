/* The members of /v1/status that users rely on. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>

#include "edge/admin/status.h"

static json_t *parsed(const status_t *s)
{
    size_t n;
    char *text = status_json(s, &n);
    cr_assert_eq(strlen(text), n);
    json_error_t e;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    cr_assert_not_null(j, "%s: %s", e.text, text);
    free(text);
    return j;
}

Test(status, full)
{
    const status_disk_t disk = {.write_amplification = 1.25, .stalls = 7};
    const status_tier_t tiers[] = {
        {.name = "memory", .objects = 10, .bytes = 2048, .budget = 4096, .hits = 3, .part = 0.5},
        {.name = "disk", .objects = UINT64_MAX, .bytes = 1, .budget = 2, .disk = &disk}};
    const status_upstream_t ups[] = {{.name = SPAN("http://10.0.0.1"), .shield = true, .healthy = true, .requests = 7},
                                     {.name = SPAN("http://10.0.0.2"), .failures = 3, .why = "5 errors in a row"}};
    const status_worker_t workers[] = {{5, 1, 100}, {6, 0, 101}};
    status_t s = {
        .version = "1.2.3",
        .node = SPAN("edge-1"),
        .role = "edge",
        .started = 1700000000000,
        .uptime = 61999,
        .ready = true,
        .tiers = tiers,
        .tiers_n = 2,
        .upstreams = ups,
        .upstreams_n = 2,
        .workers = workers,
        .workers_n = 2,
        .purge = {.cursor = "1700000000000-0", .position = 12, .redis = "connected", .gaps = 1, .lag_seconds = 0.25}};
    json_t *j = parsed(&s);
    const char *node, *version, *started, *role, *cursor, *redis;
    int uptime, ready, position, gaps;
    double lag;
    cr_assert_eq(json_unpack(j, "{s:s,s:s,s:s,s:s,s:i,s:b,s:{s:s,s:i,s:F,s:i,s:s}}", "node", &node, "version", &version,
                             "started", &started, "role", &role, "uptime", &uptime, "ready", &ready, "purge", "cursor",
                             &cursor, "position", &position, "lag_seconds", &lag, "gaps", &gaps, "redis", &redis),
                 0);
    cr_assert_str_eq(node, "edge-1");
    cr_assert_str_eq(version, "1.2.3");
    cr_assert_str_eq(started, "2023-11-14T22:13:20Z");
    cr_assert_eq(uptime, 61);
    cr_assert_eq(ready, 1);
    cr_assert_str_eq(cursor, "1700000000000-0");
    cr_assert_eq(position, 12);
    cr_assert_eq(gaps, 1);
    cr_assert_str_eq(redis, "connected");
    cr_assert_float_eq(lag, 0.25, 1e-9);
    json_t *memory = json_object_get(json_object_get(j, "tiers"), "memory");
    json_t *on_disk = json_object_get(json_object_get(j, "tiers"), "disk");
    cr_assert_eq(json_integer_value(json_object_get(memory, "hits")), 3);
    cr_assert_float_eq(json_real_value(json_object_get(memory, "hit_ratio")), 0.5, 1e-9);
    cr_assert_null(json_object_get(memory, "stalls"));
    cr_assert_eq(json_integer_value(json_object_get(on_disk, "stalls")), 7);
    cr_assert_float_eq(json_real_value(json_object_get(on_disk, "write_amplification")), 1.25, 1e-9);
    cr_assert_eq(json_integer_value(json_object_get(memory, "objects")), 10);
    cr_assert_eq(json_integer_value(json_object_get(memory, "bytes")), 2048);
    cr_assert_eq(json_integer_value(json_object_get(memory, "budget")), 4096);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(json_object_get(j, "tiers"), "disk"), "objects")),
                 INT64_MAX);
    json_t *second = json_array_get(json_object_get(j, "upstreams"), 1);
    cr_assert_str_eq(json_string_value(json_object_get(second, "kind")), "origin");
    cr_assert(json_is_false(json_object_get(second, "healthy")));
    cr_assert_str_eq(json_string_value(json_object_get(second, "why")), "5 errors in a row");
    cr_assert_null(json_object_get(json_array_get(json_object_get(j, "upstreams"), 0), "why"));
    cr_assert_eq(json_array_size(json_object_get(j, "workers")), 2);
    json_decref(j);
}

Test(status, of_nothing)
{
    status_t s = {.node = SPAN("\xff\xfe"), .purge = {.lag_seconds = -1}};
    json_t *j = parsed(&s);
    cr_assert(json_is_null(json_object_get(j, "node"))); /* no UTF-8: not a string, and the rest is there */
    cr_assert(json_is_null(json_object_get(j, "version")));
    json_t *p = json_object_get(j, "purge");
    cr_assert_str_eq(json_string_value(json_object_get(p, "redis")), "none");
    cr_assert_str_eq(json_string_value(json_object_get(p, "cursor")), "");
    cr_assert_eq(json_integer_value(json_object_get(p, "lag_seconds")), 0);
    cr_assert_eq(json_object_size(json_object_get(j, "tiers")), 0);
    json_decref(j);
}
