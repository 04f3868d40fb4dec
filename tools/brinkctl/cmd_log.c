/* log: the last lines of the node's access log, and those that come. Asked for again and again with the number that the
 * last answer gave, so it works wherever the admin API can be reached, and what could not be read in time is told. */
#include "tools/brinkctl/cmd.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/admin/recent.h"
#include "edge/base/mem.h"
#include "tools/brinkctl/call.h"

enum { CMD_LOG_TIMEOUT = 10000, CMD_LOG_POLL = 500 * 1000 /* µs */, CMD_LOG_PATH = 2048 };

typedef struct cmd_log {
    char filters[CMD_LOG_PATH]; /* "&host=…" */
    long last, shown; /* lines */
    bool follow, json;
} cmd_log_t;

static const char *cmd_log_text(const json_t *line, const char *name)
{
    const char *s = json_string_value(json_object_get(line, name));
    return s != NULL ? s : "-";
}

/* Control characters stand escaped in JSON; on a terminal they are not to stand at all. */
static void cmd_log_plain(const char *s)
{
    for (; *s != '\0'; s++)
        putchar((unsigned char)*s < ' ' || *s == 127 ? '?' : *s);
}

static void cmd_log_line(const json_t *line)
{
    const char *time = cmd_log_text(line, "time"), *clock = strchr(time, 'T');
    printf("%.12s %3d %-11s %9.1f ms %10lld  ", clock != NULL ? clock + 1 : time,
           (int)json_integer_value(json_object_get(line, "status")), cmd_log_text(line, "cache"),
           (double)json_integer_value(json_object_get(line, "duration_us")) / 1000,
           (long long)json_integer_value(json_object_get(line, "bytes")));
    cmd_log_plain(cmd_log_text(line, "client"));
    putchar(' ');
    cmd_log_plain(cmd_log_text(line, "method"));
    putchar(' ');
    cmd_log_plain(cmd_log_text(line, "host"));
    cmd_log_plain(cmd_log_text(line, "target"));
    putchar('\n');
}

static void cmd_log_show(cmd_log_t *l, const json_t *answer)
{
    size_t i;
    json_t *line;
    long long lost = (long long)json_integer_value(json_object_get(answer, "lost"));
    if (lost > 0)
        fprintf(stderr, "brinkctl: %lld lines went by faster than they were read\n", lost);
    json_array_foreach(json_object_get(answer, "lines"), i, line)
    {
        if (!l->follow && l->shown == l->last)
            return;
        l->shown++;
        if (l->json) {
            json_dumpf(line, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            cmd_log_line(line);
        }
    }
}

static void cmd_log_filter(cmd_log_t *l, args_t *a, const char *name, const char *value)
{
    char *escaped = curl_easy_escape(NULL, value, 0);
    size_t n = strlen(l->filters);
    int more = escaped != NULL ? snprintf(l->filters + n, sizeof l->filters - n, "&%s=%s", name, escaped) : -1;
    curl_free(escaped);
    if (more < 0 || n + (size_t)more >= sizeof l->filters)
        args_wrong(a, "--%s is too long", name);
}

static void cmd_log_args(cmd_log_t *l, call_t *call, args_t *a)
{
    static const char *const filters[] = {"--host", "--status", "--cache"};
    bool given[3] = {false};
    int from, to;
    while (args_more(a)) {
        const char *value = NULL;
        if (call_option(call, a))
            continue;
        size_t i = 0;
        while (i < 3 && (value = args_value(a, filters[i])) == NULL)
            i++;
        if (value != NULL) {
            if (i == 0 && *value == '\0')
                args_wrong(a, "--host wants the name of a host");
            if (i == 1 && !accesslog_statuses(span_str(value), &from, &to))
                args_wrong(a, "--status wants " ACCESSLOG_STATUSES ", not '%s'", value);
            if (i == 2 && !accesslog_is_cache_word(span_str(value)))
                args_wrong(a, "--cache wants " ACCESSLOG_CACHE_WORDS ", not '%s'", value);
            if (given[i])
                args_wrong(a, "%s is given twice", filters[i]);
            given[i] = true;
            cmd_log_filter(l, a, filters[i] + 2, value);
        } else if ((value = args_value(a, "--last")) != NULL) {
            if (*value == '\0' || strspn(value, "0123456789") != strlen(value) || strlen(value) > 9 ||
                atol(value) > RECENT_LINES)
                args_wrong(a, "--last wants a number of lines, up to %d (a node keeps no more), not '%s'", RECENT_LINES,
                           value);
            l->last = atol(value);
        } else if (args_flag(a, "--follow") || args_flag(a, "-f")) {
            l->follow = true;
        } else if (args_flag(a, "--json")) {
            l->json = true;
        } else {
            args_unknown(a);
        }
    }
}

/* One call. `*more`: there is more to be had at once (a node answers no more than RECENT_ANSWER_LINES); `next`: where
 * to go on. */
static int cmd_log_ask(cmd_log_t *l, const call_t *call, const char *path, char next[32], bool *more)
{
    call_answer_t answer;
    int code = call_do(call, "GET", path, NULL, CMD_LOG_TIMEOUT, &answer);
    if (code == CALL_EXIT_OK && answer.status != 200) {
        call_problem(call, &answer);
        code = CALL_EXIT_REFUSED;
    }
    json_t *body = code == CALL_EXIT_OK ? call_json(&answer) : NULL;
    if (code == CALL_EXIT_OK && body == NULL) {
        fprintf(stderr, "brinkctl: %s answered something that is no JSON\n", call->admin);
        code = CALL_EXIT_REFUSED;
    }
    if (body != NULL) {
        cmd_log_show(l, body);
        snprintf(next, 32, "%lld", (long long)json_integer_value(json_object_get(body, "next")));
        *more = json_is_true(json_object_get(body, "more"));
    }
    json_decref(body);
    call_answer_release(&answer);
    return code;
}

int cmd_log(args_t *a)
{
    call_t call = {0};
    cmd_log_t l = {.last = RECENT_USUAL};
    cmd_log_args(&l, &call, a);
    call_ready(&call, a);
    char path[CMD_LOG_PATH + 64], next[32] = "";
    snprintf(path, sizeof path, "/v1/log?last=%ld%s", l.last, l.filters);
    bool more = false;
    int code = cmd_log_ask(&l, &call, path, next, &more);
    while (code == CALL_EXIT_OK && (l.follow || (more && l.shown < l.last)) && fflush(stdout) == 0) {
        if (!more)
            usleep(CMD_LOG_POLL);
        snprintf(path, sizeof path, "/v1/log?after=%s%s", next, l.filters);
        code = cmd_log_ask(&l, &call, path, next, &more);
    }
    call_release(&call);
    return code;
}
