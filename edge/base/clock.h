/* The only place that asks the machine for the time. Event loops read it once a turn and pass it down. */
#ifndef BRINK_BASE_CLOCK_H
#define BRINK_BASE_CLOCK_H

#include "edge/base/time.h"

now_t clock_now(void);     /* any thread */
int64_t clock_nanos(void); /* CLOCK_MONOTONIC, for histograms; any thread */

#endif
