#include <criterion/criterion.h>
#include <time.h>

#include "edge/base/clock.h"

/* Units and clocks are what the header says. */
Test(clock, units)
{
    struct timespec wall, boot, mono;
    now_t now = clock_now();
    int64_t nanos = clock_nanos();
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    msec_t wall_ms = wall.tv_sec * 1000 + wall.tv_nsec / 1000000, boot_ms = boot.tv_sec * 1000 + boot.tv_nsec / 1000000;
    int64_t mono_ns = mono.tv_sec * 1000000000ll + mono.tv_nsec;
    cr_expect(now.wall <= wall_ms && wall_ms - now.wall < 60000);
    cr_expect(now.boot <= boot_ms && boot_ms - now.boot < 60000);
    cr_expect(nanos <= mono_ns && mono_ns - nanos < 60000000000ll);
}
