/* Command line: options in any order, `--name value` or `--name=value`. A wrong line ends the program with
 * ARGS_EXIT_USAGE and a sentence. */
#ifndef BRINK_TOOLS_BRINKCTL_ARGS_H
#define BRINK_TOOLS_BRINKCTL_ARGS_H

#include <stdbool.h>

enum { ARGS_EXIT_USAGE = 2 };

typedef struct args {
    int argc, at;
    char **argv;
    const char *command; /* for messages */
} args_t;

bool args_more(const args_t *a);
/* True if the next argument is this flag; it is then taken. */
bool args_flag(args_t *a, const char *name);
/* The value of this option if the next argument is it, else NULL; both are then taken. A value that begins with "--"
 * has to be written behind a "=". Lives as long as argv. */
const char *args_value(args_t *a, const char *name);
/* The next argument if it is no option, else NULL; it is then taken. "-" counts as no option. */
const char *args_plain(args_t *a);
/* Nobody knew the next argument. */
_Noreturn void args_unknown(const args_t *a);
_Noreturn void args_wrong(const args_t *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
