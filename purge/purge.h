/* Purging as a whole: the ledger, its journal on disk, and Redis, behind one handle. node.c opens it first (the warm
 * tier needs the ledger's epoch), starts it when the stores are open, and stops it last.
 *
 * Threads: purge has two of its own (journal writer, Redis). All functions may be called from any thread and never wait
 * for disk or network, except purge_open, purge_start and purge_stop. Callbacks come from purge's threads, without any
 * lock held; they must not block. */
#ifndef BRINK_PURGE_PURGE_H
#define BRINK_PURGE_PURGE_H

#include "edge/base/arena.h"
#include "purge/ledger.h"
#include "purge/message.h"

typedef struct purge purge_t;

typedef enum purge_on_gap { PURGE_GAP_REVALIDATE, PURGE_GAP_FLUSH, PURGE_GAP_IGNORE } purge_on_gap_t;

/* What the node is told; any member may be NULL. */
typedef struct purge_sink {
    void *ctx;
    /* An entry is in force: the ledger says so already, stores may free memory early. */
    void (*applied)(void *ctx, uint64_t position, mark_t level);
    /* Possibly lost purges; the ledger has the entry already. */
    void (*gap)(void *ctx, purge_on_gap_t what, const char *why);
    /* This node's name is live elsewhere: the node must not go on. */
    void (*refused)(void *ctx, const char *why);
} purge_sink_t;

enum { PURGE_SENTINELS_MAX = 16 };

/* Where Redis is. */
typedef struct purge_server {
    enum { PURGE_SERVER_NONE, PURGE_SERVER_TCP, PURGE_SERVER_UNIX, PURGE_SERVER_SENTINEL } kind;
    const char *shown; /* for logs: without the password */
    struct {
        const char *host; /* without brackets */
        uint16_t port;
    } hosts[PURGE_SENTINELS_MAX]; /* TCP: one; SENTINEL: the sentinels */
    size_t hosts_n;
    const char *path;            /* UNIX */
    const char *user, *password; /* NULL: none */
    const char *master;          /* SENTINEL */
    int db;
} purge_server_t;

typedef struct purge_options { /* strings are copied */
    const char *node;          /* name */
    const char *version;
    const char *state;    /* directory of the journal; made if it isn't there */
    purge_server_t redis; /* kind NONE: this node alone */
    const char *stream;   /* "brink:purge" */
    const char *channel;  /* NULL: none */
    msec_t keep;          /* of entries in the stream */
    purge_on_gap_t on_gap;
    msec_t wait_timeout;        /* default for "wait" */
    msec_t start_without_redis; /* how long until a start goes on as after a gap */
    msec_t max_disconnected;    /* MSEC_NEVER, or how long without Redis until nothing stored is trusted */
    /* A URL selector to uri form by the rules of its site (key_from_url). Any thread. */
    message_normalise_fn *normalise;
    void *normalise_ctx;
    purge_sink_t sink;
    size_t max_values; /* of the ledger; 0 = LEDGER_MAX_VALUES */
} purge_options_t;

/* Opens the journal and loads the ledger. On error: a sentence in err (what, where, what would be right) and a negative
 * err_t. */
err_t purge_open(const purge_options_t *o, purge_t **out, char *err, size_t err_size);
/* Starts the threads. stored_objects: the caches are not empty (then a missing cursor is a gap). */
err_t purge_start(purge_t *p, bool stored_objects);
/* Stops and joins the threads; what is queued for the journal is written first. Waiting submissions are answered. The
 * state directory is free for another process then, and purge_in_doubt is true: this one hears of no purge any more. */
void purge_stop(purge_t *p);
void purge_free(purge_t *p); /* after purge_stop (or if never started); the ledger goes too */

ledger_t *purge_ledger(purge_t *p);
const char *purge_node(const purge_t *p);
/* As purge_options_t.normalise. */
err_t purge_normalise(purge_t *p, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest);

/* False at start until the purge log is caught up with (or start_without_redis is over); then true for good. One atomic
 * load. */
bool purge_ready(const purge_t *p);
/* True while nothing stored may be used without a validation that reached the origin: until ready, and while
 * disconnected for longer than max_disconnected. One atomic load; the request path treats it as MARK_STRICT on
 * everything. */
bool purge_in_doubt(const purge_t *p);

/* What a request to the shield must carry: ledger_demand, and while in doubt the demand that no older copy is used at
 * all. */
void purge_demand(purge_t *p, const ledger_subject_t *s, msec_t now_boot, ledger_demand_t *out);

/* ---- a purge by this node's API ---- */

typedef enum purge_source {
    PURGE_FROM_API,
    PURGE_FROM_STREAM,
    PURGE_FROM_CHANNEL,
    PURGE_FROM_NODE,
    PURGE_FROM_JOURNAL, /* of this node's earlier life, still on its way into the stream */
    PURGE_SOURCES
} purge_source_t;

enum { PURGE_ID_MAX = 160, PURGE_NODES_MAX = 1000 };

typedef struct purge_node_state {
    const char *name;
    double applied_ms; /* from acceptance until it was seen from here to be applied there, which is at the latest when
                          somebody waits or asks for the receipt; < 0: not yet */
    bool live;         /* has a receipt key */
} purge_node_state_t;

typedef struct purge_outcome {
    err_t err; /* ERR_OK; ERR_IO: in force in memory but the journal can't be written; ERR_TIMEOUT: wait ended before
                  all had it; ERR_CLOSED: shutting down; ERR_NOT_FOUND (receipts) */
    char id[PURGE_ID_MAX];
    uint64_t sequence;
    bool in_redis; /* "durable": "redis" or "journal" */
    bool pending;  /* it waits for Redis: no other node can have it yet */
    msec_t accepted_wall;
    const purge_node_state_t *nodes; /* with wait, and in receipts; borrowed for the call */
    size_t nodes_n;
} purge_outcome_t;

typedef void purge_done_fn(void *ctx, const purge_outcome_t *o);

/* Applies the message: it is in force on return. `done` is called exactly once, when it is durable and what m->wait
 * asks for is reached or its timeout is over; possibly before purge_submit returns. ERR_RANGE with the value in `bad`:
 * a URL that can't be. ERR_AGAIN: too many purges wait for Redis. On an error `done` is not called and nothing was
 * applied. */
err_t purge_submit(purge_t *p, const message_t *m, purge_done_fn *done, void *ctx, char *bad, size_t bad_size);

/* The receipt of an ID (a stream ID or journal:NODE:NUMBER). */
void purge_receipt(purge_t *p, span_t id, purge_done_fn *done, void *ctx);

/* ---- the shield's side of the tier ---- */

typedef enum purge_has { PURGE_HAS_YES, PURGE_HAS_NO, PURGE_HAS_ASK } purge_has_t;
/* Has this node applied everything up to an edge's cursor? ASK: not yet, or it is of another Redis history; then ask
 * with purge_catch_up. An empty run_id is a YES. */
purge_has_t purge_has(purge_t *p, const ledger_cursor_t *theirs);
/* Reads on until it has, at most `most` ms. done(ctx, false): go to the origin. Called exactly once, any thread. */
void purge_catch_up(purge_t *p, const ledger_cursor_t *theirs, msec_t most, void (*done)(void *ctx, bool has),
                    void *ctx);

/* Everything begun before `floor` is gone or was checked up to it and written so: the ledger and its journal may
 * forget. */
void purge_compact(purge_t *p, uint64_t floor);

/* ---- seeing ---- */

typedef enum purge_redis { PURGE_REDIS_NONE, PURGE_REDIS_CONNECTED, PURGE_REDIS_DISCONNECTED } purge_redis_t;

typedef struct purge_status {
    char cursor[48]; /* "1700000000000-0"; "" without a stream */
    uint64_t position;
    double lag_seconds; /* how far the last read was behind the stream's newest entry; grows while disconnected */
    uint64_t gaps;
    purge_redis_t redis;
    bool ready, in_doubt, recorder;
    size_t undelivered; /* accepted, not yet in the stream */
    uint64_t journal_errors, malformed, reconnects;
    uint64_t count[MESSAGE_KINDS][PURGE_SOURCES]; /* brink_purges_total{kind,source} */
    ledger_stats_t ledger;
} purge_status_t;

void purge_status(purge_t *p, purge_status_t *out);
extern const char *const purge_source_names[PURGE_SOURCES]; /* "api", "stream", "channel", "node", "journal" */

#endif
