/* What is known of the servers that requests go to: who failed, who is left out for a while, how many requests are
 * under way.
 *
 * A server is identified by its URL and keeps its state across reloads of the configuration. After HEALTH_EJECT_AFTER
 * failures in a row it is ejected for a second, doubled at each failed trial up to a minute; when the time is over, one
 * request at a time is let through as a trial. Any success makes it whole. Whether the last one of a group may stay
 * ejected is the router's business (route.h: it may not).
 *
 * Threads: everything here may be called on any thread. A health_server_t lives while a view that holds it does. Time
 * is boot time in milliseconds. */
#ifndef BRINK_SHIELD_HEALTH_H
#define BRINK_SHIELD_HEALTH_H

#include "edge/base/time.h"
#include "edge/conf/conf.h"

enum { HEALTH_EJECT_AFTER = 3, HEALTH_BACKOFF_FIRST = 1000, HEALTH_BACKOFF_MOST = 60 * 1000 };

typedef struct health health_t;               /* the registry: one a process */
typedef struct health_view health_view_t;     /* the servers of one configuration, by conf_origin_t.index */
typedef struct health_server health_server_t; /* one server */

health_t *health_new(void);
void health_free(health_t *h); /* after all views are gone */

/* Binds a configuration: servers already known keep their state. One reference; views are counted atomically. */
health_view_t *health_view_new(health_t *h, const conf_t *conf);
health_view_t *health_view_ref(health_view_t *v);
void health_view_unref(health_view_t *v);
health_server_t *health_at(const health_view_t *v, size_t index);

/* May it be sent a request now? No side effect: for choosing. */
bool health_usable(const health_server_t *s, msec_t boot);
/* Claims the right to send: false when it is ejected, or when another request is the trial just now. */
bool health_admit(health_server_t *s, msec_t boot);
/* Around each request that is sent. A failure is: no connection, no whole answer, a timeout; a 5xx counts as one only
 * if the caller thinks so. */
void health_begin(health_server_t *s);
typedef enum health_result {
    HEALTH_OK,
    HEALTH_FAILED,
    HEALTH_UNKNOWN /* ended for a reason that says nothing of the server, such as a client that left */
} health_result_t;
void health_end(health_server_t *s, health_result_t result, msec_t boot);
uint32_t health_in_flight(const health_server_t *s);

/* For status and metrics. */
typedef struct health_state {
    span_t url;   /* lives while the view does */
    bool healthy; /* not ejected */
    uint32_t consecutive_failures, in_flight;
    msec_t ejected_for; /* milliseconds from now; 0 */
    uint64_t requests, failures, ejections;
} health_state_t;
void health_read(const health_server_t *s, msec_t boot, health_state_t *out);
size_t health_count(const health_view_t *v);

#endif
