/* purge: selectors from the command line and from a file, sent as one purge or, where the API's ceilings ask for it, as
 * several one after the other. The exit code is the worst of them: 0 means that every selector is in force where it was
 * asked for.
 *
 * Who waits for the fleet sees a line for each node when it has applied the purge: the call itself waits only for a
 * moment, and what is missing then is asked for by its receipt. A token that may not read has no receipts; then the
 * call waits, and all lines come with its answer. */
#include "tools/brinkctl/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/conf/units.h"
#include "tools/brinkctl/call.h"

/* Half of what a node accepts in one body (10,000 values, 1 MiB): JSON may write a byte as six. */
enum { CMD_PURGE_MAX_VALUES = 5000, CMD_PURGE_MAX_BYTES = 128 * 1024, CMD_PURGE_MAX_LINE = 64 * 1024 };
enum {
    CMD_PURGE_MARGIN = 10000, /* ms beyond the node's own timeout */
    CMD_PURGE_WAIT = 5000,    /* ms that the fleet is waited for, unless said otherwise */
    CMD_PURGE_MOST_WAIT = 600 * 1000,
    CMD_PURGE_FIRST_WAIT = 250, /* by the call itself */
    CMD_PURGE_LOOK_EVERY = 100
};

typedef struct cmd_purge_value {
    const char *member; /* "urls", "tags", "prefixes", "hosts" */
    char *text;
} cmd_purge_value_t;

typedef struct cmd_purge {
    call_t call;
    cmd_purge_value_t *values;
    size_t n, room;
    bool everything, soft, json, follow;
    const char *wait;
    msec_t timeout;
    json_t *told; /* names of nodes that a line was printed for */
} cmd_purge_t;

static void cmd_purge_add(cmd_purge_t *p, const char *member, const char *text, size_t n)
{
    if (p->n == p->room) {
        p->room = p->room > 0 ? p->room * 2 : 64;
        p->values = mem_realloc(p->values, p->room * sizeof *p->values);
    }
    p->values[p->n++] = (cmd_purge_value_t){member, mem_dup(text, n)};
}

static void cmd_purge_file(cmd_purge_t *p, const args_t *a, const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL)
        args_wrong(a, "%s can't be read: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    for (int number = 1; (n = getline(&line, &room, f)) >= 0; number++) {
        while (n > 0 && strchr(" \t\r\n", line[n - 1]) != NULL)
            n--;
        line[n] = '\0';
        if (n == 0 || line[0] == '#')
            continue;
        if (n > CMD_PURGE_MAX_LINE)
            args_wrong(a, "%s:%d: the line is longer than %d bytes", path, number, CMD_PURGE_MAX_LINE);
        if (line[0] == '{')
            args_wrong(a, "%s:%d: a line is a URL or a tag, not JSON", path, number);
        bool url = strncmp(line, "http://", 7) == 0 || strncmp(line, "https://", 8) == 0;
        cmd_purge_add(p, url ? "urls" : "tags", line, (size_t)n);
    }
    bool failed = ferror(f) != 0;
    free(line);
    if (f != stdin)
        fclose(f);
    if (failed)
        args_wrong(a, "%s can't be read: %s", path, strerror(errno));
}

/* Takes one selector if it is next. */
static bool cmd_purge_selector(cmd_purge_t *p, args_t *a)
{
    static const struct {
        const char *option, *member;
    } known[] = {{"--url", "urls"}, {"--tag", "tags"}, {"--prefix", "prefixes"}, {"--host", "hosts"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *value = args_value(a, known[i].option);
        if (value != NULL) {
            if (*value == '\0')
                args_wrong(a, "%s wants a value that is not empty", known[i].option);
            cmd_purge_add(p, known[i].member, value, strlen(value));
            return true;
        }
    }
    if (args_flag(a, "--all")) {
        p->everything = true;
        return true;
    }
    return false;
}

/* A line for each node that has it and had none yet. */
static void cmd_purge_applied(const cmd_purge_t *p, const json_t *body)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(body, "nodes"), i, node)
    {
        const char *name = json_string_value(json_object_get(node, "node"));
        json_t *took = json_object_get(node, "applied_ms");
        if (name == NULL || json_object_get(p->told, name) != NULL)
            continue;
        json_object_set_new(p->told, name, json_true());
        printf("  %s applied it", name);
        if (json_is_number(took))
            printf(" after %.1f ms", json_number_value(took));
        putchar('\n');
    }
    fflush(stdout);
}

static void cmd_purge_others(const json_t *body)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(body, "missing"), i, node)
        printf("  %s has not answered yet: it applies the purge when it is back\n",
               json_is_string(node) ? json_string_value(node) : "?");
    if (json_is_true(json_object_get(body, "pending")))
        printf("  it waits for Redis: no other node has it before it is in the stream\n");
    json_array_foreach(json_object_get(body, "absent"), i, node)
        printf("  %s is known, but not alive\n", json_is_string(node) ? json_string_value(node) : "?");
}

/* Some node doesn't have it; or the answering one has told none of them, and may not know who there is. */
static bool cmd_purge_missing(const json_t *body)
{
    return json_array_size(json_object_get(body, "missing")) > 0 || json_is_true(json_object_get(body, "pending"));
}

static bool cmd_purge_local(const cmd_purge_t *p)
{
    return p->wait != NULL && strcmp(p->wait, "local") == 0;
}

/* Is it in the stream, and everywhere? */
static bool cmd_purge_reached(const json_t *body)
{
    const char *durable = json_string_value(json_object_get(body, "durable"));
    return durable != NULL && strcmp(durable, "redis") == 0 && !cmd_purge_missing(body);
}

/* Asks for the receipt until every node is in it or the time is over. Takes body, and returns the latest. */
static json_t *cmd_purge_follow(const cmd_purge_t *p, json_t *body, msec_t until)
{
    char path[600];
    const char *id = json_string_value(json_object_get(body, "id"));
    if (id == NULL || snprintf(path, sizeof path, "/v1/purge/%s", id) >= (int)sizeof path)
        return body;
    while (!cmd_purge_reached(body) && clock_now().boot < until) {
        call_answer_t answer;
        usleep(CMD_PURGE_LOOK_EVERY * 1000);
        int code = call_do(&p->call, "GET", path, NULL, CMD_PURGE_MARGIN, &answer);
        json_t *next = code == CALL_EXIT_OK && answer.status == 200 ? call_json(&answer) : NULL;
        call_answer_release(&answer);
        if (next == NULL)
            break;
        json_decref(body);
        body = next;
        cmd_purge_applied(p, body);
    }
    return body;
}

static int cmd_purge_answer(const cmd_purge_t *p, const call_answer_t *answer, const char *verb, msec_t until)
{
    json_t *body = call_json(answer);
    const char *id = json_string_value(json_object_get(body, "id"));
    int code = CALL_EXIT_REFUSED;
    if (id == NULL || (answer->status != 200 && answer->status != 202 && answer->status != 504)) {
        call_problem(&p->call, answer);
    } else {
        bool asked = answer->status != 202; /* who waits for nobody is told where it is, and content with that */
        bool partial = answer->status == 504 || (asked && cmd_purge_missing(body) && !cmd_purge_local(p));
        if (p->json) {
            json_dumpf(body, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
            putchar('\n');
        } else {
            const char *durable = json_string_value(json_object_get(body, "durable"));
            printf("%s %s (durable: %s)\n", verb, id, durable != NULL ? durable : "?");
            json_object_clear(p->told);
            cmd_purge_applied(p, body);
            if (answer->status == 504 && p->follow) {
                body = cmd_purge_follow(p, body, until);
                partial = !cmd_purge_reached(body);
            }
            cmd_purge_others(body);
        }
        code = partial ? CALL_EXIT_PARTIAL : CALL_EXIT_OK;
    }
    json_decref(body);
    return code;
}

/* May this token ask for receipts? Of a purge that can't be, in order not to purge first. */
static bool cmd_purge_may_follow(const cmd_purge_t *p)
{
    call_answer_t answer;
    if (p->json || p->wait == NULL || strcmp(p->wait, "fleet") != 0)
        return false;
    bool may = call_do(&p->call, "GET", "/v1/purge/0-0", NULL, CMD_PURGE_MARGIN, &answer) == CALL_EXIT_OK &&
               answer.status == 404;
    call_answer_release(&answer);
    return may;
}

/* Sends values[from, to); everything goes with the first. */
static int cmd_purge_send(const cmd_purge_t *p, size_t from, size_t to)
{
    json_t *body = json_object();
    for (size_t i = from; i < to; i++) {
        const cmd_purge_value_t *v = &p->values[i];
        json_t *list = json_object_get(body, v->member);
        if (list == NULL) {
            list = json_array();
            json_object_set_new(body, v->member, list);
        }
        json_t *text = json_string(v->text);
        if (text == NULL) {
            fprintf(stderr, "brinkctl purge: '%s' is not UTF-8\n", v->text);
            json_decref(body);
            return ARGS_EXIT_USAGE;
        }
        json_array_append_new(list, text);
    }
    if (p->everything && from == 0)
        json_object_set_new(body, "everything", json_true());
    if (p->soft)
        json_object_set_new(body, "soft", json_true());
    if (p->wait != NULL)
        json_object_set_new(body, "wait", json_string(p->wait));
    msec_t wait = p->timeout != 0 ? p->timeout : CMD_PURGE_WAIT, until = clock_now().boot + wait;
    msec_t first = p->follow && wait > CMD_PURGE_FIRST_WAIT ? CMD_PURGE_FIRST_WAIT : wait;
    if (p->timeout != 0 || p->follow)
        json_object_set_new(body, "timeout", json_sprintf("%lldms", (long long)first));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    call_answer_t answer;
    int code = call_do(&p->call, "POST", "/v1/purge", text, CMD_PURGE_MOST_WAIT + CMD_PURGE_MARGIN, &answer);
    free(text);
    if (code == CALL_EXIT_OK)
        code = cmd_purge_answer(p, &answer, p->soft ? "softly purged:" : "purged:", until);
    call_answer_release(&answer);
    return code;
}

static int cmd_purge_all(cmd_purge_t *p)
{
    p->follow = cmd_purge_may_follow(p);
    int worst = CALL_EXIT_OK;
    size_t from = 0;
    do {
        size_t to = from, bytes = 0;
        while (to < p->n && to - from < CMD_PURGE_MAX_VALUES && (to == from || bytes < CMD_PURGE_MAX_BYTES))
            bytes += strlen(p->values[to++].text);
        int code = cmd_purge_send(p, from, to);
        if (code != CALL_EXIT_OK && (worst == CALL_EXIT_OK || worst == CALL_EXIT_PARTIAL))
            worst = code;
        if (code != CALL_EXIT_OK && code != CALL_EXIT_PARTIAL) {
            if (from > 0 || to < p->n)
                fprintf(stderr, "brinkctl purge: stopped after %zu of %zu values\n", from, p->n);
            break;
        }
        from = to;
    } while (from < p->n);
    return worst;
}

static int cmd_purge_receipt(const cmd_purge_t *p, const args_t *a, const char *id)
{
    if (id[strcspn(id, "/?# %\\")] != '\0' || *id == '\0')
        args_wrong(a, "'%s' is no purge's ID", id);
    char path[600];
    if (snprintf(path, sizeof path, "/v1/purge/%s", id) >= (int)sizeof path)
        args_wrong(a, "'%.40s...' is no purge's ID", id);
    call_answer_t answer;
    int code = call_do(&p->call, "GET", path, NULL, 10000, &answer);
    if (code == CALL_EXIT_OK)
        code = cmd_purge_answer(p, &answer, "purge", 0);
    call_answer_release(&answer);
    return code;
}

int cmd_purge(args_t *a)
{
    cmd_purge_t p = {.told = json_object()};
    const char *value, *receipt = NULL;
    while (args_more(a)) {
        if (call_option(&p.call, a) || cmd_purge_selector(&p, a))
            continue;
        if (args_flag(a, "--soft"))
            p.soft = true;
        else if (args_flag(a, "--json"))
            p.json = true;
        else if ((value = args_value(a, "--from-file")) != NULL)
            cmd_purge_file(&p, a, value);
        else if ((value = args_value(a, "--receipt")) != NULL)
            receipt = value;
        else if ((value = args_value(a, "--wait")) != NULL) {
            if (strcmp(value, "none") != 0 && strcmp(value, "local") != 0 && strcmp(value, "fleet") != 0)
                args_wrong(a, "--wait is none, local or fleet, not '%s'", value);
            p.wait = value;
        } else if ((value = args_value(a, "--timeout")) != NULL) {
            if (units_duration(span_str(value), &p.timeout) != ERR_OK || p.timeout <= 0 ||
                p.timeout > CMD_PURGE_MOST_WAIT)
                args_wrong(a, "--timeout is a duration up to 10m, as 500ms or 2s, not '%s'", value);
        } else
            args_unknown(a);
    }
    if (receipt == NULL && p.n == 0 && !p.everything)
        args_wrong(a, "what to purge? --url, --tag, --prefix, --host, --all or --from-file");
    if (receipt != NULL && (p.n > 0 || p.everything))
        args_wrong(a, "--receipt asks about an earlier purge and takes no selector");
    call_ready(&p.call, a);
    int code = receipt != NULL ? cmd_purge_receipt(&p, a, receipt) : cmd_purge_all(&p);
    for (size_t i = 0; i < p.n; i++)
        free(p.values[i].text);
    free(p.values);
    json_decref(p.told);
    call_release(&p.call);
    return code;
}
