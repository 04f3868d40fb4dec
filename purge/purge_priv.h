/* The inside of purging, shared by the files that make it up:
 *
 *   purge.c    opening, starting, stopping; what the node asks
 *   submit.c   a purge by this node's API, until its answer
 *   apply.c    an entry, a heard message or a gap takes effect here
 *   service.c  the thread: one loop over all connections
 *   stream.c   reads the stream; finds gaps
 *   channel.c  hears the channel; holds the recorder's lease
 *   outbox.c   enters into the stream what isn't there yet; trims it
 *   repeat.c   knows entries that come a second time
 *   receipts.c says what this node has applied, and asks what others have
 *   catchup.c  the shield's side of the tier
 *
 * Threads: what is marked S belongs to the service thread. */
#ifndef BRINK_PURGE_PURGE_PRIV_H
#define BRINK_PURGE_PURGE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "edge/base/check.h"
#include "edge/base/list.h"
#include "edge/base/loop.h"
#include "purge/journal.h"
#include "purge/purge.h"
#include "purge/redis_conn.h"

enum {
    PURGE_COMMAND_LIMIT = 2000, /* ms for a reply of Redis */
    PURGE_REDIS_WAIT = 250,     /* ms that an answer waits for Redis before it says "journal" */
    PURGE_HEARD_WAIT = 1000,    /* ms until a heard message that nobody entered is entered by whoever heard it */
    PURGE_LEASE = 3000,         /* ms */
    PURGE_RECEIPT_EVERY = 5000, /* ms */
    PURGE_RECEIPT_LIFE = 15,    /* s */
    PURGE_MAX_UNDELIVERED = 100 * 1000, /* purges that wait for Redis in memory */
    PURGE_MAX_UNDELIVERED_BYTES = 64 * 1024 * 1024,
    PURGE_IN_FLIGHT = 64,     /* entries on their way into the stream at once */
    PURGE_READ_COUNT = 200,   /* entries of one reply */
    PURGE_SEEN = 32,          /* changes of a node's receipt that are remembered */
    PURGE_REPEATS = 8192,     /* entries of the stream that are known again when they are repeated */
    PURGE_MAX_WAITERS = 10000 /* answers and catch-ups that wait at once */
};

typedef struct submission submission_t;

/* A purge that is in force here and not yet behind the stream's cursor. */
typedef struct pending {
    list_t link;
    uint64_t number, position;
    msec_t wall, boot;
    stream_id_t id;   /* once XADD was answered */
    stream_id_t lost; /* what it was entered as until Redis lost it; 0-0: it was never lost */
    uint32_t flags;   /* enum journal_flag */
    bool outside;     /* counted by the ledger */
    bool in_flight;   /* an XADD waits for its reply */
    bool matchable;   /* heard during the present subscription: its entry will come */
    char *json, *by;  /* by: of another node whose entry Redis lost; NULL = this node's own */
    size_t json_n;
    ledger_value_t *values;
    size_t n;
    submission_t *waiting;
} pending_t;

struct submission {
    list_t link;
    loop_message_t arrive, journaled;
    purge_t *p;
    pending_t *pending; /* handed over with `arrive`; NULL when it is delivered */
    purge_done_fn *done;
    void *ctx;
    message_wait_t wait;
    msec_t wall, boot; /* when it was accepted */
    msec_t asked, redis_until, deadline;
    double here_ms; /* what it took here */
    uint64_t number, position;
    stream_id_t id;
    bool delivered, journal_known, looked_up;
    err_t journal_err;
    span_t receipt_id; /* a receipt's question, not a purge; owned */
    int unsettled;     /* messages that are still to come; freed at 0 */
    bool answered;
};

typedef struct repeat { /* S: an entry that was read and is in force */
    stream_id_t id;
    uint64_t body, from; /* hashes of `purge`, and of `by` and `life` (0: it doesn't say whose) */
    uint64_t number, position;
    msec_t accepted;
    uint32_t flags;
} repeat_t;

typedef struct known_node { /* S */
    char name[JOURNAL_NODE_MAX];
    struct {
        stream_id_t applied;
        msec_t boot;    /* when that was first seen */
    } seen[PURGE_SEEN]; /* a ring */
    size_t seen_n;      /* so far */
    bool live;          /* has a receipt key, or had one that would not have run out yet */
    msec_t until;       /* boot: when that is */
} known_node_t;

typedef struct catchup catchup_t;

struct purge {
    arena_t strings;
    purge_options_t o;
    ledger_t *ledger;
    journal_t *journal;
    _Atomic uint64_t next_number;
    _Atomic bool ready, doubt;
    _Atomic uint64_t gaps, malformed, reconnects;
    bool connected_before; /* S */
    _Atomic uint64_t count[MESSAGE_KINDS][PURGE_SOURCES];
    _Atomic size_t undelivered, undelivered_bytes;
    _Atomic bool connected, recorder;
    _Atomic int64_t lag;    /* ms, when last read */
    _Atomic int64_t lag_at; /* boot */
    _Atomic size_t waiters;

    pthread_mutex_t gate; /* guards stopping; held while messages are posted */
    bool stopping;
    bool started;
    pthread_t thread;
    loop_t loop;
    loop_message_t stop;
    bool stop_now;       /* S */
    bool stored_objects; /* S */
    msec_t started_boot; /* S */

    list_t outgoing, added; /* S: pending_t: to be entered, and entered but not yet read back */
    list_t submissions;     /* S */
    list_t catchups;        /* S */

    redis_conn_t stream_conn, channel_conn, command_conn; /* S */
    /* stream.c, S */
    bool has_cursor, caught_up; /* caught_up: on the present connection */
    bool trusted;               /* and what was said on the channel is known, too */
    journal_cursor_t cursor;
    pending_t *probe_gap;
    bool added_unknown; /* entries_added of the cursor is not known: take it, don't check it */
    msec_t disconnected_since;
    size_t probes, probes_missing;
    stream_id_t probe_best;
    stream_id_t ended; /* the cursor when the stream had last been read to its end, or Redis was connected to */
    bool probe_common; /* something of before that is there: only the end was lost */
    stream_info_t probe_info;
    repeat_t *repeats; /* a ring of PURGE_REPEATS */
    size_t repeats_n;  /* so far */
    /* channel.c, S */
    msec_t subscribed_since; /* boot; 0 = not */
    msec_t subscribe_sent;
    bool lease_covered; /* a renewal later than subscribed_since was seen */
    bool lease_asked;
    msec_t lease_sent;
    char lease_value[JOURNAL_NODE_MAX + 24];
    /* outbox.c, S */
    size_t in_flight;
    msec_t trimmed;
    /* receipts.c, S */
    known_node_t *nodes;
    size_t nodes_n;
    bool receipt_dirty, receipt_busy, poll_busy, poll_again, name_checked;
    msec_t receipt_at, polled_at;
    stream_id_t receipt_of; /* as last written */
    size_t poll_left;
    msec_t poll_began;
    char instance[20];
    int foreign_seen;
    char foreign_at[32];
    loop_timer_t tick;
};

/* apply.c */
pending_t *apply_pending_new(uint64_t number, const char *json, size_t json_n, const message_compiled_t *c);
void apply_pending_free(pending_t *d);
void apply_count(purge_t *p, const message_t *m, purge_source_t source);
void apply_entry(purge_t *p, const stream_entry_t *e);         /* of the stream; moves the cursor */
void apply_heard(purge_t *p, span_t payload);                  /* of the channel */
void apply_gap(purge_t *p, const char *why, bool tell_others); /* found here */
void apply_baseline(purge_t *p);                               /* what began before now is not trusted */
void apply_cursor(purge_t *p);                                 /* p->cursor to ledger and journal */
void apply_delivered(purge_t *p, pending_t *d, stream_id_t id, bool read_back); /* may free d */
void apply_lost(purge_t *p, pending_t *d); /* Redis lost it: to be entered again, if need be by this node's next life */
void apply_passed(purge_t *p);             /* of what was entered, all up to the cursor is delivered */
pending_t *apply_find(purge_t *p, uint64_t number);
void apply_enqueue(purge_t *p, pending_t *d); /* to the outbox; takes it */

bool apply_is_gap(span_t json);
/* repeat.c */
void repeat_add(purge_t *p, const stream_entry_t *e, const repeat_t *what);
/* Is that entry one that was applied before? One that takes the place of a lost one, or that was entered twice. NULL:
 * no, or it is too long ago. */
const repeat_t *repeat_find(const purge_t *p, const stream_entry_t *e);

/* submit.c */
void submit_settled(purge_t *p, submission_t *s); /* its purge is in the stream */
void submit_tick(purge_t *p);                     /* time limits, receipts */
void submit_stop(purge_t *p);
/* receipts.c */
void receipts_tick(purge_t *p);
void receipts_up(purge_t *p);
void receipts_applied(purge_t *p);
void receipts_lost(purge_t *p); /* the stream that they speak of */
void receipts_poll_soon(purge_t *p);
/* Has that node applied everything up to id, as far as is known here? When that was first seen, on the boot clock. */
bool receipts_has(const known_node_t *k, stream_id_t id, msec_t *seen);
/* stream.c, channel.c, outbox.c, catchup.c */
void stream_up(purge_t *p);
void stream_down(purge_t *p);
void stream_tick(purge_t *p);
void stream_ready(purge_t *p);
void channel_up(purge_t *p);
void channel_down(purge_t *p);
void channel_push(purge_t *p, const redisReply *r);
void channel_tick(purge_t *p);
void channel_ask(purge_t *p); /* for the lease, or to renew it */
/* What was said while this node didn't listen is in the stream, or a gap is in force. */
bool channel_settled(const purge_t *p);
void channel_stop(purge_t *p);
void outbox_run(purge_t *p);
void catchup_run(purge_t *p);
void catchup_stop(purge_t *p);
/* service.c */
err_t service_start(purge_t *p);
void service_ignore(void *ctx, const redisReply *r); /* a reply that nobody looks at */

static inline bool purge_has_redis(const purge_t *p)
{
    return p->o.redis.kind != PURGE_SERVER_NONE;
}
static inline stream_id_t purge_cursor_id(const purge_t *p)
{
    return (stream_id_t){p->cursor.at.ms, p->cursor.at.seq};
}
/* Are commands to the very server that the stream was read to its end from possible? */
static inline bool purge_commands(const purge_t *p)
{
    return p->caught_up && redis_conn_up(&p->command_conn) && strcmp(p->command_conn.run_id, p->cursor.at.run_id) == 0;
}

#endif
