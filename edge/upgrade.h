/* Changing the program without refusing a connection: the listening sockets are handed to a new process of the same
 * file name and configuration, by descriptors and one environment variable. */
#ifndef BRINK_EDGE_UPGRADE_H
#define BRINK_EDGE_UPGRADE_H

#include <sys/types.h>

#include "edge/node.h"

/* Lets the new binary read the configuration (-t), so that none is handed the sockets which would end at its first step.
 * ERR_REFUSED: it doesn't like it, or there is none; it has said why on stderr. Takes as long as that takes. */
err_t upgrade_check(char **argv, char *err);
/* Starts the new process with our sockets; *pid is its. ERR_IO: it could not be started; everything is as before. */
err_t upgrade_spawn(node_t *n, char **argv, pid_t *pid, char *err);
/* In the new process: what was handed over; .n == 0 on an ordinary start. Owned by the callee's static memory. */
void upgrade_inherited(node_inherited_t *out);

#endif
