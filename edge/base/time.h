/* Time is an argument in everything that is pure. Two clocks: wall (Unix, for what HTTP writes as dates) and boot
 * (CLOCK_BOOTTIME, for durations: it goes on in suspend and never jumps). Both in milliseconds. */
#ifndef BRINK_BASE_TIME_H
#define BRINK_BASE_TIME_H

#include <stdint.h>

typedef int64_t msec_t;

typedef struct now {
    msec_t wall; /* Unix milliseconds */
    msec_t boot; /* milliseconds of CLOCK_BOOTTIME */
} now_t;

#define MSEC_PER_SEC 1000
#define MSEC_NEVER INT64_MAX

#endif
