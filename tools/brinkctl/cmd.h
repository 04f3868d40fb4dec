/* The commands: each reads its arguments, acts, prints, and returns what the program ends with. */
#ifndef BRINK_TOOLS_BRINKCTL_CMD_H
#define BRINK_TOOLS_BRINKCTL_CMD_H

#include "tools/brinkctl/args.h"

int cmd_purge(args_t *a);
int cmd_status(args_t *a);
int cmd_top(args_t *a);
int cmd_log(args_t *a);
int cmd_explain(args_t *a);
int cmd_check(args_t *a);
int cmd_sign(args_t *a);

#endif
