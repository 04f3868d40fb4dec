/* One connection to Redis on the purge thread: connects (through Sentinel if so configured), logs in, selects the
 * database, learns the server's run_id, and then sends commands whose replies come in order, each with a time limit of
 * its own. Lost connections are made again with a growing, jittered delay.
 *
 * It uses hiredis' non-blocking context and reader, not its asynchronous layer: that has no time limits, and asserts on
 * replies of an unexpected shape.
 *
 * Threads: the purge thread only. Callbacks may send and may fail the connection; nothing is freed under them. */
#ifndef BRINK_PURGE_REDIS_CONN_H
#define BRINK_PURGE_REDIS_CONN_H

#include <poll.h>

#include "edge/base/loop.h"
#include "purge/purge.h"
#include "purge/redis_reply.h"

enum {
    REDIS_CONN_MAX_PENDING = 4096,           /* commands without a reply */
    REDIS_CONN_MAX_REPLY = 512 * 1024 * 1024 /* bytes of one reply that isn't complete yet */
};

/* reply NULL: the connection was lost; whether the command was done is not known. */
typedef void redis_conn_fn(void *ctx, const redisReply *reply);

typedef struct redis_conn redis_conn_t;
typedef struct redis_conn_events {
    void (*up)(void *ctx, redis_conn_t *c);                        /* ready for commands */
    void (*down)(void *ctx, redis_conn_t *c, const char *why);     /* was up, is no more; after the replies' NULLs */
    void (*push)(void *ctx, redis_conn_t *c, const redisReply *r); /* subscribed: everything that arrives */
    void *ctx;
} redis_conn_events_t;

typedef enum redis_conn_state {
    REDIS_CONN_IDLE,
    REDIS_CONN_CONNECTING,
    REDIS_CONN_SETUP,
    REDIS_CONN_UP
} redis_conn_state_t;

struct redis_conn {
    loop_t *loop;
    const purge_server_t *server;
    redis_conn_events_t events;
    const char *what; /* for logs: "stream", "channel", "commands" */
    redisContext *c;
    redis_conn_state_t state;
    bool subscribed, to_sentinel, failed, closed;
    char why[160], told[160]; /* why it failed; what of that was logged last, since it was up */
    char run_id[41];
    char master_host[256]; /* as Sentinel said */
    uint16_t master_port;
    size_t sentinel; /* whom to ask next */
    struct redis_conn_command {
        redis_conn_fn *fn;
        void *ctx;
        msec_t deadline;
    } * pending; /* ring of REDIS_CONN_MAX_PENDING */
    size_t first, count;
    msec_t connect_deadline, backoff, heard_at;
    loop_timer_t retry;
};

void redis_conn_init(redis_conn_t *c, loop_t *loop, const purge_server_t *server, const char *what,
                     const redis_conn_events_t *events);
void redis_conn_start(redis_conn_t *c);
void redis_conn_release(redis_conn_t *c); /* every pending command gets its NULL; no more events */

bool redis_conn_up(const redis_conn_t *c);
/* False (and fn is not called): not up, or too many commands wait. */
bool redis_conn_send(redis_conn_t *c, msec_t limit, redis_conn_fn *fn, void *ctx, int argc, const span_t *argv);
void redis_conn_subscribe(redis_conn_t *c, span_t channel); /* also as a heartbeat */
void redis_conn_fail(redis_conn_t *c, const char *why);     /* closes soon, then retries */
/* The server is known to answer (another connection to it is up): what waits to try again tries on the next turn. */
void redis_conn_hurry(redis_conn_t *c);

/* For the thread's loop: what to wait for (fd -1: nothing); what came; time limits and failures, once a turn. */
void redis_conn_poll(const redis_conn_t *c, struct pollfd *out);
void redis_conn_ready(redis_conn_t *c, short revents);
void redis_conn_tick(redis_conn_t *c);

#endif
