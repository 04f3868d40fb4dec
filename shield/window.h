/* Counts over the last seconds, in buckets of one second each: what success rates, latencies and the retry budget are
 * made of. Pure: the caller locks, and brings the time. */
#ifndef BRINK_SHIELD_WINDOW_H
#define BRINK_SHIELD_WINDOW_H

#include "edge/base/time.h"

enum { WINDOW_SECONDS = 10 };

typedef struct window_counts {
    uint32_t all, failed; /* events, and those of them that failed (or were retries) */
    uint32_t timed;       /* events with a duration, and their sum */
    uint64_t micros;
} window_counts_t;

typedef struct window {
    int64_t second; /* of the newest bucket */
    window_counts_t bucket[WINDOW_SECONDS];
} window_t; /* zeroed: empty */

/* The bucket of now, for adding to. */
window_counts_t *window_now(window_t *w, msec_t boot);
/* Of all of them that are not too old. */
window_counts_t window_sum(window_t *w, msec_t boot);
void window_clear(window_t *w);

#endif
