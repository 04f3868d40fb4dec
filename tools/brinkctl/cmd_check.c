/* check: a configuration by the very code that the node reads it with, or, without a file, the node itself. With --json
 * an object a line: {"file","valid","warnings":[{"line","column","message"}],"error":{"file","line","column","message"}}
 * for each file, or {"alive","ready","detail"}. */
#include "tools/brinkctl/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/conf/conf.h"
#include "edge/node.h"
#include "tools/brinkctl/call.h"

static void cmd_check_print(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

/* What a message quotes may be any bytes. */
static json_t *cmd_check_text(const char *text, size_t n)
{
    json_t *j = json_stringn(text, n);
    return j != NULL ? j : json_string("(it is not UTF-8)");
}

static int cmd_check_bad(const char *path, const conf_error_t *e, bool json)
{
    char text[sizeof e->file + sizeof e->message + 64];
    if (json)
        cmd_check_print(json_pack("{s:o, s:b, s:[], s:{s:o, s:i, s:i, s:o}}", "file",
                                  cmd_check_text(path, strlen(path)), "valid", 0, "warnings", "error", "file",
                                  cmd_check_text(e->file, strlen(e->file)), "line", e->line, "column", e->column,
                                  "message", cmd_check_text(e->message, strlen(e->message))));
    else
        fprintf(stderr, "%s\n", conf_error_text(e, text, sizeof text));
    return ARGS_EXIT_USAGE;
}

static int cmd_check_file(const char *path, bool json)
{
    conf_t *conf = NULL;
    conf_error_t error = {0};
    if (conf_load(path, &conf, &error) != ERR_OK)
        return cmd_check_bad(path, &error, json);
    json_t *warnings = json_array();
    for (size_t i = 0; i < conf->warnings_n; i++) {
        const conf_warning_t *w = &conf->warnings[i];
        if (json)
            json_array_append_new(warnings, json_pack("{s:i, s:i, s:o}", "line", w->line, "column", w->column, "message",
                                                      cmd_check_text(w->message.p, w->message.n)));
        else
            fprintf(stderr, "%s:%d:%d: warning: %.*s\n", path, w->line, w->column, SPAN_ARG(w->message));
    }
    char err[NODE_ERROR_MAX] = "";
    err_t e = node_check(conf, err);
    conf_unref(conf);
    if (json) {
        json_t *j = json_pack("{s:o, s:b, s:o}", "file", cmd_check_text(path, strlen(path)), "valid", e == ERR_OK,
                              "warnings", warnings);
        if (e != ERR_OK)
            json_object_set_new(j, "error",
                                json_pack("{s:o, s:o}", "file", cmd_check_text(path, strlen(path)), "message",
                                          cmd_check_text(err, strlen(err))));
        cmd_check_print(j);
    } else {
        if (e != ERR_OK)
            fprintf(stderr, "%s: %s\n", path, err);
        json_decref(warnings);
    }
    return e == ERR_OK ? CALL_EXIT_OK : ARGS_EXIT_USAGE;
}

/* One of /healthz and /readyz: a sentence is printed, or `what` put into `j`. */
static int cmd_check_probe(const call_t *call, const char *path, const char *what, const char *bad, json_t *j)
{
    call_answer_t answer;
    int code = call_do(call, "GET", path, NULL, 10000, &answer);
    if (code == CALL_EXIT_OK) {
        bool fine = answer.status == 200;
        json_t *problem = fine ? NULL : call_json(&answer), *detail = json_object_get(problem, "detail");
        while (answer.n > 0 && (answer.body[answer.n - 1] == '\n' || answer.body[answer.n - 1] == '\r'))
            answer.body[--answer.n] = '\0';
        if (j != NULL) {
            json_object_set_new(j, what, json_boolean(fine));
            if (json_is_string(detail))
                json_object_set(j, "detail", detail);
        } else if (fine) {
            printf("%s\n", what);
        } else {
            printf("%s (%ld%s%.500s)\n", bad, answer.status, answer.n > 0 ? ": " : "",
                   json_is_string(detail) ? json_string_value(detail) : answer.body);
        }
        json_decref(problem);
        code = fine ? CALL_EXIT_OK : CALL_EXIT_REFUSED;
    }
    call_answer_release(&answer);
    return code;
}

static int cmd_check_node(const call_t *call, bool json)
{
    json_t *j = json ? json_pack("{s:b, s:b}", "alive", 0, "ready", 0) : NULL;
    int code = cmd_check_probe(call, "/healthz", "alive", "not healthy", j);
    if (code == CALL_EXIT_OK)
        code = cmd_check_probe(call, "/readyz", "ready", "not ready", j);
    if (j != NULL)
        cmd_check_print(j);
    return code;
}

int cmd_check(args_t *a)
{
    call_t call = {0};
    bool json = false;
    int code = CALL_EXIT_OK, files = 0;
    const char **path = mem_alloc((size_t)a->argc * sizeof *path);
    while (args_more(a)) {
        if (call_option(&call, a))
            continue;
        if (args_flag(a, "--json"))
            json = true;
        else if ((path[files] = args_plain(a)) != NULL)
            files++;
        else
            args_unknown(a);
    }
    for (int i = 0; i < files; i++) {
        int one = cmd_check_file(path[i], json);
        code = one != CALL_EXIT_OK ? one : code;
    }
    if (files == 0) {
        call_ready(&call, a);
        code = cmd_check_node(&call, json);
    }
    free(path);
    call_release(&call);
    return code;
}
