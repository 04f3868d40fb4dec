/* Reading of clocks, for the impure edges of the program. */
#include "edge/base/clock.h"

#include <time.h>

static int64_t clock_read(clockid_t id, int64_t per_second)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * per_second + t.tv_nsec / (1000000000 / per_second);
}

now_t clock_now(void)
{
    return (now_t){.wall = clock_read(CLOCK_REALTIME, MSEC_PER_SEC), .boot = clock_read(CLOCK_BOOTTIME, MSEC_PER_SEC)};
}

int64_t clock_nanos(void)
{
    return clock_read(CLOCK_MONOTONIC, 1000000000);
}
