/* The whole node: every part, built in order and torn down in reverse. One a process; all functions on the main thread.
 */
#ifndef BRINK_EDGE_NODE_H
#define BRINK_EDGE_NODE_H

#include "edge/conf/conf.h"
#include "edge/serve/serve.h"

typedef struct node node_t;

enum { NODE_ERROR_MAX = 1024 };

typedef struct node_inherited { /* from the process that this one replaces */
    const serve_inherited_t *sockets;
    size_t n;
    msec_t patience; /* how long its disk and state are waited for */
} node_inherited_t;

/* Opens everything that can fail: journal, disk, sockets, certificates, log. `err` (NODE_ERROR_MAX bytes) is one clear
 * sentence. */
/* Could a node run so? Reads what the configuration names (certificates, authorities, the user), looks
 * whether the state, the disk and the log can be written where they should be, and opens and makes nothing. */
err_t node_check(const conf_t *conf, char *err);
err_t node_open(const conf_t *conf, const node_inherited_t *inherited, node_t **out, char *err);
err_t node_start(node_t *n, char *err); /* threads; accepts from here on */
/* Upkeep, about once a second. True: the node must stop (its name is live elsewhere; `err` says so). */
bool node_tick(node_t *n, char *err);
/* SIGHUP. On error the old configuration goes on and `err` says why. */
err_t node_reload(node_t *n, const conf_t *conf, char *err);
void node_reloaded(bool ok); /* counts a reload */
void node_reopen_log(node_t *n);
/* The listening sockets, to hand to another process: see serve_socket_at. */
bool node_socket_at(node_t *n, size_t i, serve_inherited_t *out);
/* Stops: finishes requests in flight and writes what is fresh to disk, within conf.drain. handing_over: the sockets
 * stay open for another process, which gets disk and state first. */
void node_stop(node_t *n, bool handing_over);
void node_free(node_t *n);

#endif
