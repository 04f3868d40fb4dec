/* The command line is read by asking: each command offers the names it knows, and what nobody takes is an error. So no
 * option is ever ignored, and a misspelt --soft can't become a hard purge. */
#include "tools/brinkctl/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool args_more(const args_t *a)
{
    return a->at < a->argc;
}

bool args_flag(args_t *a, const char *name)
{
    if (!args_more(a) || strcmp(a->argv[a->at], name) != 0)
        return false;
    a->at++;
    return true;
}

const char *args_value(args_t *a, const char *name)
{
    if (!args_more(a))
        return NULL;
    const char *arg = a->argv[a->at];
    size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0 || (arg[n] != '\0' && arg[n] != '='))
        return NULL;
    if (arg[n] == '=') {
        a->at++;
        return arg + n + 1;
    }
    if (a->at + 1 >= a->argc)
        args_wrong(a, "%s wants a value", name);
    if (strncmp(a->argv[a->at + 1], "--", 2) == 0) /* `--tag --soft` would purge a tag of that name, and not softly */
        args_wrong(a, "%s wants a value; if it is %s, write %s=%s", name, a->argv[a->at + 1], name, a->argv[a->at + 1]);
    a->at += 2;
    return a->argv[a->at - 1];
}

const char *args_plain(args_t *a)
{
    if (!args_more(a))
        return NULL;
    const char *arg = a->argv[a->at];
    if (arg[0] == '-' && arg[1] != '\0')
        return NULL;
    a->at++;
    return arg;
}

void args_unknown(const args_t *a)
{
    args_wrong(a, "'%s' is not understood", a->argv[a->at]);
}

void args_wrong(const args_t *a, const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    fprintf(stderr, "brinkctl %s: ", a->command);
    vfprintf(stderr, fmt, list);
    fprintf(stderr, " (brinkctl --help tells what there is)\n");
    va_end(list);
    exit(ARGS_EXIT_USAGE);
}
