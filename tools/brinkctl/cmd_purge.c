/* purge: selectors from the command line and from a file, sent as one purge or, where the API's ceilings ask for it, as
 * several one after the other. The exit code is the worst of them: 0 means that every selector is in force where it was
 * asked for. */
#include "tools/brinkctl/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/conf/units.h"
#include "tools/brinkctl/call.h"

/* Half of what a node accepts in one body (10,000 values, 1 MiB): JSON may write a byte as six. */
enum { CMD_PURGE_MAX_VALUES = 5000, CMD_PURGE_MAX_BYTES = 128 * 1024, CMD_PURGE_MAX_LINE = 64 * 1024 };
enum { CMD_PURGE_MARGIN = 10000 /* ms beyond the node's own timeout */, CMD_PURGE_DEFAULT_TIMEOUT = 60000 };

typedef struct cmd_purge_value {
    const char *member; /* "urls", "tags", "prefixes", "hosts" */
    char *text;
} cmd_purge_value_t;

typedef struct cmd_purge {
    call_t call;
    cmd_purge_value_t *values;
    size_t n, room;
    bool everything, soft, json;
    const char *wait, *timeout;
    msec_t patience;
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

static void cmd_purge_nodes(const json_t *body)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(body, "nodes"), i, node)
    {
        const char *name = json_string_value(json_object_get(node, "node"));
        json_t *took = json_object_get(node, "applied_ms");
        printf("  %s applied it", name != NULL ? name : "?");
        if (json_is_number(took))
            printf(" after %.1f ms", json_number_value(took));
        putchar('\n');
    }
    json_array_foreach(json_object_get(body, "missing"), i, node)
        printf("  %s has not answered yet: it applies the purge when it is back\n",
               json_is_string(node) ? json_string_value(node) : "?");
    json_array_foreach(json_object_get(body, "absent"), i, node)
        printf("  %s is known, but not alive\n", json_is_string(node) ? json_string_value(node) : "?");
}

static int cmd_purge_answer(const cmd_purge_t *p, const call_answer_t *answer, const char *verb)
{
    json_t *body = call_json(answer);
    const char *id = json_string_value(json_object_get(body, "id"));
    int code = CALL_EXIT_REFUSED;
    if (id == NULL || (answer->status != 200 && answer->status != 202 && answer->status != 504)) {
        call_problem(&p->call, answer);
    } else {
        bool missing = json_array_size(json_object_get(body, "missing")) > 0;
        code = answer->status == 504 || missing ? CALL_EXIT_PARTIAL : CALL_EXIT_OK;
        if (p->json) {
            json_dumpf(body, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            const char *durable = json_string_value(json_object_get(body, "durable"));
            printf("%s %s (durable: %s)\n", verb, id, durable != NULL ? durable : "?");
            cmd_purge_nodes(body);
        }
    }
    json_decref(body);
    return code;
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
    if (p->timeout != NULL)
        json_object_set_new(body, "timeout", json_string(p->timeout));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    call_answer_t answer;
    int code = call_do(&p->call, "POST", "/v1/purge", text, p->patience, &answer);
    free(text);
    if (code == CALL_EXIT_OK)
        code = cmd_purge_answer(p, &answer, p->soft ? "softly purged:" : "purged:");
    call_answer_release(&answer);
    return code;
}

static int cmd_purge_all(const cmd_purge_t *p)
{
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
        code = cmd_purge_answer(p, &answer, "purge");
    call_answer_release(&answer);
    return code;
}

int cmd_purge(args_t *a)
{
    cmd_purge_t p = {.patience = CMD_PURGE_DEFAULT_TIMEOUT};
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
            msec_t ms;
            if (units_duration(span_str(value), &ms) != ERR_OK || ms <= 0 || ms > 3600 * 1000)
                args_wrong(a, "--timeout is a duration up to 1h, as 500ms or 2s, not '%s'", value);
            p.timeout = value;
            p.patience = ms + CMD_PURGE_MARGIN;
        } else
            args_unknown(a);
    }
    if (receipt == NULL && p.n == 0 && !p.everything)
        args_wrong(a, "what to purge? --url, --tag, --prefix, --host, --all or --from-file");
    if (receipt != NULL && (p.n > 0 || p.everything))
        args_wrong(a, "--receipt asks about an earlier purge and takes no selector");
    call_ready(&p.call);
    int code = receipt != NULL ? cmd_purge_receipt(&p, a, receipt) : cmd_purge_all(&p);
    for (size_t i = 0; i < p.n; i++)
        free(p.values[i].text);
    free(p.values);
    call_release(&p.call);
    return code;
}
