/* check: a configuration by the very code that the node reads it with, or, without a file, the node itself. */
#include "tools/brinkctl/cmd.h"

#include <stdio.h>
#include <string.h>

#include "edge/conf/conf.h"
#include "edge/node.h"
#include "tools/brinkctl/call.h"

static int cmd_check_file(const char *path)
{
    conf_t *conf = NULL;
    conf_error_t error = {0};
    if (conf_load(path, &conf, &error) != ERR_OK) {
        char text[sizeof error.file + sizeof error.message + 64];
        fprintf(stderr, "%s\n", conf_error_text(&error, text, sizeof text));
        return ARGS_EXIT_USAGE;
    }
    for (size_t i = 0; i < conf->warnings_n; i++)
        fprintf(stderr, "%s:%d:%d: warning: %.*s\n", path, conf->warnings[i].line, conf->warnings[i].column,
                SPAN_ARG(conf->warnings[i].message));
    char err[NODE_ERROR_MAX] = "";
    err_t e = node_check(conf, err);
    conf_unref(conf);
    if (e != ERR_OK)
        fprintf(stderr, "%s: %s\n", path, err);
    return e == ERR_OK ? CALL_EXIT_OK : ARGS_EXIT_USAGE;
}

/* One of /healthz and /readyz: prints a sentence. */
static int cmd_check_probe(const call_t *call, const char *path, const char *good, const char *bad)
{
    call_answer_t answer;
    int code = call_do(call, "GET", path, NULL, 10000, &answer);
    if (code == CALL_EXIT_OK) {
        bool fine = answer.status == 200;
        while (answer.n > 0 && (answer.body[answer.n - 1] == '\n' || answer.body[answer.n - 1] == '\r'))
            answer.body[--answer.n] = '\0';
        if (fine)
            printf("%s\n", good);
        else
            printf("%s (%ld%s%.500s)\n", bad, answer.status, answer.n > 0 ? ": " : "", answer.body);
        code = fine ? CALL_EXIT_OK : CALL_EXIT_REFUSED;
    }
    call_answer_release(&answer);
    return code;
}

int cmd_check(args_t *a)
{
    call_t call = {0};
    int code = CALL_EXIT_OK, files = 0;
    while (args_more(a)) {
        const char *path;
        if (call_option(&call, a))
            continue;
        if ((path = args_plain(a)) == NULL)
            args_unknown(a);
        files++;
        int one = cmd_check_file(path);
        code = one != CALL_EXIT_OK ? one : code;
    }
    if (files == 0) {
        call_ready(&call);
        code = cmd_check_probe(&call, "/healthz", "alive", "not healthy");
        if (code == CALL_EXIT_OK)
            code = cmd_check_probe(&call, "/readyz", "ready", "not ready");
    }
    call_release(&call);
    return code;
}
