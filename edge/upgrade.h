/* Changing the program without refusing a connection: the listening sockets are handed to a new process of the same
 * file name and configuration, by descriptors and one environment variable. */
#ifndef BRINK_EDGE_UPGRADE_H
#define BRINK_EDGE_UPGRADE_H

#include "edge/node.h"

/* Starts the new process with our sockets. ERR_IO: it could not be started; everything is as before. */
err_t upgrade_spawn(node_t *n, char **argv, char *err);
/* In the new process: what was handed over; .n == 0 on an ordinary start. Owned by the callee's static memory. */
void upgrade_inherited(node_inherited_t *out);

#endif
