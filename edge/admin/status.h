/* What GET /v1/status says: a plain picture of the node, filled in by whoever owns the parts, written as JSON here.
 *
 * Ownership: the arrays and names are borrowed until status_json returns; a source allocates them from the arena it is
 * given. */
#ifndef BRINK_ADMIN_STATUS_H
#define BRINK_ADMIN_STATUS_H

#include "edge/base/arena.h"
#include "edge/base/span.h"
#include "edge/base/time.h"

typedef struct status_count {
    const char *name;
    uint64_t n;
} status_count_t;

typedef struct status_tier {
    const char *name; /* "memory", "disk" */
    uint64_t objects, bytes, budget;
    uint64_t hits;                  /* since the start */
    double part;                    /* of all requests: the hit ratio of the tier */
    const struct status_disk *disk; /* NULL: memory */
    const status_count_t *evictions;
    size_t evictions_n;
} status_tier_t;

typedef struct status_disk {
    double write_amplification;
    uint64_t segments, stalls, damaged, errors, queue_bytes;
} status_disk_t;

typedef struct status_upstream {
    span_t name; /* URL */
    bool shield; /* else an origin */
    bool healthy;
    uint64_t requests, failures;
    uint32_t in_flight, waiting;
    uint64_t latency_micros; /* mean time to the head in the last seconds; 0: unknown */
    uint64_t ejections;
    msec_t ejected_for;  /* ms from now */
    const char *circuit; /* "closed", "open", "half-open", "slow-start" */
    const char *why;     /* of an ejection; NULL: none */
} status_upstream_t;

typedef struct status_worker {
    uint64_t connections; /* open */
    uint64_t requests;    /* being answered */
    uint64_t accepted;    /* connections since the start */
} status_worker_t;

typedef struct status_purge {
    const char *cursor; /* of the stream; "" without one */
    uint64_t position, gaps, undelivered;
    double lag_seconds;
    const char *redis; /* "connected", "disconnected", "none" */
    bool in_doubt, recorder;
} status_purge_t;

typedef struct status {
    const char *version;
    span_t node;
    const char *role; /* "edge", "shield" */
    msec_t started;   /* Unix ms */
    msec_t uptime;    /* ms */
    bool ready, draining;
    const status_tier_t *tiers;
    size_t tiers_n;
    const status_upstream_t *upstreams;
    size_t upstreams_n;
    const status_worker_t *workers;
    size_t workers_n;
    status_purge_t purge;
} status_t;

/* Fills `out` (zeroed before). On whatever thread was asked; must not block. */
typedef struct status_source {
    void *ctx;
    void (*fill)(void *ctx, status_t *out, arena_t *a);
    bool (*ready)(void *ctx); /* one atomic load: for /readyz */
} status_source_t;

/* {"node","version","uptime","started","ready","tiers":{"memory":{"objects","bytes","budget"},…},"upstreams":[…],"workers":[…],
 * "purge":{"cursor","position","lag_seconds","gaps","redis",…}}. uptime in seconds. malloc'ed with a NUL; free()
 * releases. */
char *status_json(const status_t *s, size_t *n);

#endif
