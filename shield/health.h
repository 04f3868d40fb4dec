/* What is known of the servers that requests go to: who failed and is left out for a while, how many requests are under
 * way and who waits for a place, how long answers take.
 *
 * A server is identified by its URL and keeps its state across reloads of the configuration.
 *
 * Ejection: HEALTH_FAILURES requests in a row without an answer, HEALTH_ERRORS answers of 502, 503 or 504 in a row,
 * half of at least HEALTH_RATE_LEAST requests within ten seconds failed, answers much slower than its equals'
 * (health_outlier, for upstreams_sweep), or HEALTH_PROBES failed probes in a row. It is out for a second, doubled
 * each time it fails again, up to a minute; then one request at a time is let through as a trial. A server that comes
 * back gets a share of the requests that grows for HEALTH_SLOW_START.
 *
 * Whether the last one of a group may stay out is the router's business (it may not): health_enter with `last` tries a
 * server that is out, one request at a time, while others wait for how that ends.
 *
 * Threads: everything here may be called on any thread. A health_server_t lives while a view that holds it does. Time
 * is boot time in milliseconds. */
#ifndef BRINK_SHIELD_HEALTH_H
#define BRINK_SHIELD_HEALTH_H

#include "edge/base/list.h"
#include "edge/base/time.h"
#include "edge/conf/conf.h"
#include "shield/budget.h"

enum {
    HEALTH_FAILURES = 3,
    HEALTH_ERRORS = 5,
    HEALTH_RATE_LEAST = 20,
    HEALTH_PROBES = 3,
    HEALTH_BACKOFF_FIRST = 1000,
    HEALTH_BACKOFF_MOST = 60 * 1000,
    HEALTH_MEMORY = 60 * 1000, /* failing again so soon after it came back lengthens the time out */
    HEALTH_SLOW_START = 10 * 1000,
    HEALTH_SHARE = 1000,             /* a full share */
    HEALTH_SHARE_FIRST = 100,        /* the share to begin with */
    HEALTH_SLOWER = 3,               /* an outlier takes so many times the median of its equals, */
    HEALTH_SLOWER_MICROS = 50 * 1000 /* and this much longer */
};

typedef struct health health_t;               /* the registry: one a process */
typedef struct health_view health_view_t;     /* the servers of one configuration, by conf_origin_t.index */
typedef struct health_server health_server_t; /* one server */

health_t *health_new(void);
void health_free(health_t *h); /* after all views are gone */
budget_t *health_budget(health_t *h);

/* Binds a configuration: servers already known keep their state. One reference; views are counted atomically. */
health_view_t *health_view_new(health_t *h, const conf_t *conf);
health_view_t *health_view_ref(health_view_t *v);
void health_view_unref(health_view_t *v);
health_server_t *health_at(const health_view_t *v, size_t index);
size_t health_count(const health_view_t *v);

/* ---- before a request ---- */

/* May it be sent a request now? No side effect: for choosing, like the next two. */
bool health_usable(const health_server_t *s, msec_t boot);
uint32_t health_in_flight(const health_server_t *s);
uint32_t health_share(const health_server_t *s, msec_t boot); /* of HEALTH_SHARE; less while it starts slowly */

/* Somebody who waits for a place. Owned by the caller, who must not let go of it before `run` was called or
 * health_leave said true. */
typedef struct health_waiter {
    list_t link;
    bool queued;  /* private */
    bool granted; /* at `run`: the place is taken, and health_end follows; else the server is out, or its trial has
                     failed */
    void (*run)(struct health_waiter *w); /* on any thread, without a lock; once */
} health_waiter_t;

typedef struct health_ask {
    bool last;               /* nobody else is well: it is tried although it is out */
    uint32_t limit, queue;   /* the most under way, and waiting */
    health_waiter_t *waiter; /* NULL: doesn't wait */
} health_ask_t;

typedef enum health_entry {
    HEALTH_GO,     /* counted as under way; health_end follows */
    HEALTH_QUEUED, /* the waiter is told */
    HEALTH_OUT,    /* ejected, and it is somebody else's trial or too early for one */
    HEALTH_FULL
} health_entry_t;

health_entry_t health_enter(health_server_t *s, const health_ask_t *ask, msec_t boot);
/* Gives up waiting; false: too late, `run` is called or has been. */
bool health_leave(health_server_t *s, health_waiter_t *w);

/* ---- after it ---- */

typedef enum health_result {
    HEALTH_OK,
    HEALTH_FAILED, /* no connection, no whole answer */
    HEALTH_SILENT, /* no answer in time: where others were answered meanwhile it is that resource that hangs, not the
                      server, and it doesn't count as one in a row */
    HEALTH_ERROR,  /* an answer, but 502, 503 or 504: alive, and not working */
    HEALTH_UNKNOWN /* ended for a reason that says nothing of the server, such as a client that left */
} health_result_t;

void health_answered(health_server_t *s, int64_t nanos, msec_t boot);                  /* a head came after so long */
void health_end(health_server_t *s, health_result_t result, msec_t sent, msec_t boot); /* `sent`: when it began */
/* An active probe. `patience`: how long to stay out at least unless the next probe says otherwise. */
void health_probed(health_server_t *s, bool well, msec_t patience, msec_t boot);

/* ---- among equals ---- */
/* Mean time to the head in the last seconds, in µs; 0: too few answers to tell. */
uint64_t health_latency(health_server_t *s, msec_t boot);
/* Takes it out as slower than its equals, if it is not out already. */
void health_outlier(health_server_t *s, msec_t boot);

/* ---- for status and metrics ---- */
typedef enum health_why {
    HEALTH_WHY_NONE,
    HEALTH_WHY_FAILURES,
    HEALTH_WHY_ERRORS,
    HEALTH_WHY_RATE,
    HEALTH_WHY_LATENCY,
    HEALTH_WHY_PROBE
} health_why_t;
typedef struct health_state {
    span_t url;       /* lives while the view does */
    bool healthy;     /* not ejected */
    bool trial;       /* ejected, and a request is finding out */
    health_why_t why; /* of the ejection */
    uint32_t consecutive_failures, in_flight, waiting, share;
    msec_t ejected_for; /* milliseconds from now; 0 */
    uint64_t requests, failures, ejections, latency_micros;
} health_state_t;
void health_read(health_server_t *s, msec_t boot, health_state_t *out);
const char *health_why(health_why_t why);         /* for people; NULL for none */
const char *health_word(const health_state_t *s); /* "closed", "open", "half-open", "slow-start": the circuit */

#endif
