/* top: what a node is doing right now. Two looks at its metrics, an interval apart, and what happened between them;
 * what is asked for most it tells itself (/v1/top). The picture is made as JSON first, which is what --json prints. */
#include "tools/brinkctl/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/base/span.h"
#include "edge/conf/units.h"
#include "tools/brinkctl/call.h"
#include "tools/brinkctl/samples.h"

enum { CMD_TOP_TIMEOUT = 10000, CMD_TOP_SITES = 5, CMD_TOP_URLS = 10, CMD_TOP_URLS_MOST = 100 };

static const char *const cmd_top_results[] = {"hit", "miss", "stale", "revalidated", "bypass", "error"};
enum { CMD_TOP_RESULTS = sizeof cmd_top_results / sizeof *cmd_top_results };

/* ---- asking ---- */

/* The body (malloc'ed) of a good answer. */
static int cmd_top_get(const call_t *call, const char *path, char **body)
{
    call_answer_t answer;
    int code = call_do(call, "GET", path, NULL, CMD_TOP_TIMEOUT, &answer);
    *body = NULL;
    if (code == CALL_EXIT_OK && answer.status != 200) {
        call_problem(call, &answer);
        code = CALL_EXIT_REFUSED;
    } else if (code == CALL_EXIT_OK) {
        *body = answer.body;
        answer.body = NULL;
    }
    call_answer_release(&answer);
    return code;
}

static int cmd_top_json(const call_t *call, const char *path, json_t **out)
{
    char *body;
    int code = cmd_top_get(call, path, &body);
    *out = body != NULL ? json_loads(body, 0, NULL) : NULL;
    if (body != NULL && *out == NULL) {
        fprintf(stderr, "brinkctl: %s answered something that is no JSON\n", call->admin);
        code = CALL_EXIT_REFUSED;
    }
    free(body);
    return code;
}

static int cmd_top_look(const call_t *call, samples_t *out, msec_t *at)
{
    char *body;
    int code = cmd_top_get(call, "/metrics", &body);
    *at = clock_now().boot;
    if (body != NULL)
        samples_read(out, body);
    return code;
}

/* ---- the picture ---- */

static json_t *cmd_top_latency(const samples_t *before, const samples_t *after, const char *name)
{
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}};
    json_t *j = json_object();
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        double v = samples_quantile(before, after, name, quantiles[i].q);
        json_object_set_new(j, quantiles[i].name, v < 0 ? json_null() : json_real(v));
    }
    return j;
}

typedef struct cmd_top_site {
    char name[256];
    double requests, hits;
} cmd_top_site_t;

static int cmd_top_by_requests(const void *a, const void *b)
{
    const cmd_top_site_t *x = a, *y = b;
    return (x->requests < y->requests) - (x->requests > y->requests);
}

static json_t *cmd_top_sites(const samples_t *before, const samples_t *after, double seconds)
{
    cmd_top_site_t *site = mem_zalloc((after->n + 1) * sizeof *site);
    size_t n = 0;
    for (size_t i = 0; i < after->n; i++) {
        char name[sizeof site->name];
        if (strcmp(after->v[i].name, "brink_requests_total") != 0 ||
            !samples_label(after->v[i].labels, "site", name, sizeof name))
            continue;
        size_t k = 0;
        while (k < n && strcmp(site[k].name, name) != 0)
            k++;
        if (k < n)
            continue;
        memcpy(site[n].name, name, sizeof name);
        site[n++].requests = samples_grown(before, after, "brink_requests_total", "site", name);
    }
    qsort(site, n, sizeof *site, cmd_top_by_requests);
    json_t *all = json_array();
    for (size_t i = 0; i < n && i < CMD_TOP_SITES && site[i].requests > 0; i++)
        json_array_append_new(
            all, json_pack("{s:s, s:f}", "site", site[i].name, "requests_per_second", site[i].requests / seconds));
    free(site);
    return all;
}

/* The node's own list, with what was asked of each. */
static json_t *cmd_top_upstreams(const samples_t *before, const samples_t *after, double seconds, const json_t *list)
{
    size_t i;
    json_t *e, *all = json_array();
    json_array_foreach(list, i, e)
    {
        const char *name = json_string_value(json_object_get(e, "name"));
        json_t *mine = json_copy(e);
        double n = name != NULL ? samples_grown(before, after, "brink_upstream_requests_total", "upstream", name) : 0;
        json_object_set_new(mine, "requests_per_second", json_real(n / seconds));
        json_array_append_new(all, mine);
    }
    return all;
}

static json_t *cmd_top_picture(const samples_t *before, const samples_t *after, double seconds, json_t *status,
                               json_t *top)
{
    json_t *requests = json_object(), *bytes = json_object();
    double all = 0, good = 0;
    for (size_t i = 0; i < CMD_TOP_RESULTS; i++) {
        double n = samples_grown(before, after, "brink_requests_total", "result", cmd_top_results[i]);
        json_object_set_new(requests, cmd_top_results[i], json_real(n / seconds));
        all += n;
        good += i == 0 || i == 2 ? n : 0;
    }
    static const char *const directions[] = {"out", "in", "upstream_in", "upstream_out"};
    for (size_t i = 0; i < 4; i++)
        json_object_set_new(
            bytes, directions[i],
            json_real(samples_grown(before, after, "brink_bytes_total", "direction", directions[i]) / seconds));
    json_t *j = json_pack("{s:O?, s:O?, s:O?, s:O?, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:O?, s:o, s:o, s:O?}", "node",
                          json_object_get(status, "node"), "version", json_object_get(status, "version"), "ready",
                          json_object_get(status, "ready"), "uptime", json_object_get(status, "uptime"), "seconds",
                          seconds, "requests_per_second", all / seconds, "by_result", requests, "hit_ratio",
                          all > 0 ? json_real(good / all) : json_null(), "bytes_per_second", bytes, "latency_seconds",
                          cmd_top_latency(before, after, "brink_request_duration_seconds"), "upstream_latency_seconds",
                          cmd_top_latency(before, after, "brink_upstream_duration_seconds"), "tiers",
                          json_object_get(status, "tiers"), "upstreams",
                          cmd_top_upstreams(before, after, seconds, json_object_get(status, "upstreams")), "sites",
                          cmd_top_sites(before, after, seconds), "urls", json_object_get(top, "urls"));
    json_object_set_new(j, "in_flight", json_real(samples_sum(after, "brink_requests_in_flight", NULL, NULL)));
    json_object_set_new(j, "connections", json_real(samples_sum(after, "brink_connections", NULL, NULL)));
    return j;
}

/* ---- for people ---- */

static double cmd_top_number(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}

static const char *cmd_top_text(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "-";
}

static void cmd_top_bytes(double n)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    size_t i = 0;
    for (; n >= 1000 && i + 1 < sizeof units / sizeof *units; i++)
        n /= 1000;
    printf(i == 0 ? "%.0f %s" : "%.1f %s", n, units[i]);
}

static void cmd_top_show_latency(const char *what, const json_t *j)
{
    const char *name;
    json_t *v;
    printf("%-11s", what);
    json_object_foreach((json_t *)(uintptr_t)j, name, v)
    {
        if (json_is_null(v))
            printf(" %s -     ", name);
        else
            printf(" %s %.2f ms ", name, json_number_value(v) * 1000);
    }
    putchar('\n');
}

static void cmd_top_show_lists(const json_t *j)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(j, "tiers"), i, e)
    {
        printf("%-11s %.0f objects, ", cmd_top_text(e, "name"), cmd_top_number(e, "objects"));
        cmd_top_bytes(cmd_top_number(e, "bytes"));
        printf(" of ");
        cmd_top_bytes(cmd_top_number(e, "budget"));
        putchar('\n');
    }
    printf("\nupstreams\n");
    json_array_foreach(json_object_get(j, "upstreams"), i, e)
    {
        bool well = json_is_true(json_object_get(e, "healthy"));
        printf("  %-4s %9.1f/s  %4.0f in flight  %s%s%s\n", well ? "well" : "OUT",
               cmd_top_number(e, "requests_per_second"), cmd_top_number(e, "in_flight"), cmd_top_text(e, "name"),
               well ? "" : ": ", well ? "" : cmd_top_text(e, "why"));
    }
    printf("\nsites\n");
    json_array_foreach(json_object_get(j, "sites"), i, e)
    {
        printf("  %9.1f/s  %s\n", cmd_top_number(e, "requests_per_second"), cmd_top_text(e, "site"));
    }
    printf("\nURLs\n");
    json_array_foreach(json_object_get(j, "urls"), i, e)
    {
        printf("  %9.1f/s  %3.0f%% hit  ", cmd_top_number(e, "requests_per_second"),
               cmd_top_number(e, "hit_ratio") * 100);
        cmd_top_bytes(cmd_top_number(e, "bytes_per_second"));
        printf("/s  %s\n", cmd_top_text(e, "url"));
    }
}

static void cmd_top_show(const json_t *j)
{
    const json_t *ratio = json_object_get(j, "hit_ratio"), *bytes = json_object_get(j, "bytes_per_second");
    const char *name;
    json_t *v;
    printf("%s, brink %s, %s\n\n", cmd_top_text(j, "node"), cmd_top_text(j, "version"),
           json_is_true(json_object_get(j, "ready")) ? "ready" : "not ready");
    printf("%-11s %.1f/s, hit ratio ", "requests", cmd_top_number(j, "requests_per_second"));
    if (json_is_null(ratio))
        printf("-");
    else
        printf("%.1f%%", json_number_value(ratio) * 100);
    printf(", %.0f in flight on %.0f connections\n%-11s", cmd_top_number(j, "in_flight"),
           cmd_top_number(j, "connections"), "");
    json_object_foreach(json_object_get(j, "by_result"), name, v)
    {
        printf(" %s %.1f", name, json_number_value(v));
    }
    printf("\n%-11s ", "bytes");
    cmd_top_bytes(cmd_top_number(bytes, "out"));
    printf("/s to clients, ");
    cmd_top_bytes(cmd_top_number(bytes, "upstream_in"));
    printf("/s from upstreams\n");
    cmd_top_show_latency("latency", json_object_get(j, "latency_seconds"));
    cmd_top_show_latency("upstream", json_object_get(j, "upstream_latency_seconds"));
    cmd_top_show_lists(j);
}

/* ---- the command ---- */

typedef struct cmd_top {
    msec_t interval;
    long urls;
    bool json;
} cmd_top_t;

static void cmd_top_args(cmd_top_t *t, call_t *call, args_t *a)
{
    while (args_more(a)) {
        const char *value;
        char *end;
        if (call_option(call, a))
            continue;
        if ((value = args_value(a, "--interval")) != NULL) {
            if (units_duration(span_str(value), &t->interval) != ERR_OK || t->interval < 100 || t->interval > 3600000)
                args_wrong(a, "--interval wants a duration from 100ms to 1h, not '%s'", value);
        } else if ((value = args_value(a, "--urls")) != NULL) {
            t->urls = strtol(value, &end, 10);
            if (*value == '\0' || *end != '\0' || t->urls < 1 || t->urls > CMD_TOP_URLS_MOST)
                args_wrong(a, "--urls wants a number from 1 to %d, not '%s'", CMD_TOP_URLS_MOST, value);
        } else if (args_flag(a, "--json")) {
            t->json = true;
        } else {
            args_unknown(a);
        }
    }
}

/* Looks once more, and shows what has happened since `before`, which is then that look. */
static int cmd_top_once(const cmd_top_t *t, const call_t *call, samples_t *before, msec_t *at, bool clear)
{
    char path[64];
    samples_t after = {0};
    json_t *status = NULL, *top = NULL;
    msec_t now = 0;
    snprintf(path, sizeof path, "/v1/top?n=%ld", t->urls);
    int code = cmd_top_look(call, &after, &now);
    if (code == CALL_EXIT_OK)
        code = cmd_top_json(call, "/v1/status", &status);
    if (code == CALL_EXIT_OK)
        code = cmd_top_json(call, path, &top);
    if (code == CALL_EXIT_OK) {
        double seconds = (double)(now > *at ? now - *at : 1) / MSEC_PER_SEC;
        json_t *picture = cmd_top_picture(before, &after, seconds, status, top);
        if (clear)
            fputs("\033[H\033[2J", stdout);
        if (t->json) {
            json_dumpf(picture, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
            putchar('\n');
        } else {
            cmd_top_show(picture);
        }
        json_decref(picture);
    }
    json_decref(status);
    json_decref(top);
    samples_release(before);
    *before = after;
    *at = now;
    return code;
}

int cmd_top(args_t *a)
{
    call_t call = {0};
    cmd_top_t t = {.interval = MSEC_PER_SEC, .urls = CMD_TOP_URLS};
    cmd_top_args(&t, &call, a);
    call_ready(&call, a);
    samples_t before = {0};
    msec_t at = 0;
    bool live = !t.json && isatty(STDOUT_FILENO);
    int code = cmd_top_look(&call, &before, &at);
    do {
        if (code == CALL_EXIT_OK)
            usleep((useconds_t)t.interval * 1000);
        if (code == CALL_EXIT_OK)
            code = cmd_top_once(&t, &call, &before, &at, live);
    } while (code == CALL_EXIT_OK && live && fflush(stdout) == 0);
    samples_release(&before);
    call_release(&call);
    return code;
}
