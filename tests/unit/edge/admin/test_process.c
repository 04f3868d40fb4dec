/* The process's own metrics agree with what the kernel says otherwise. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "edge/admin/process.h"
#include "edge/tbl/metrics.h"

static double value(const char *name)
{
    size_t n;
    char *text = metrics_export_text(&n), line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    cr_assert_not_null(at, "%s", name);
    double v = strtod(at + strlen(line), NULL);
    free(text);
    return v;
}

Test(process, tells_of_this_process)
{
    process_metrics();
    double fds = value("process_open_fds");
    cr_assert_geq(fds, 3);
    int extra = open("/dev/null", O_RDONLY);
    cr_assert_eq(value("process_open_fds"), fds + 1);
    close(extra);
    cr_assert_gt(value("process_resident_memory_bytes"), 100 * 1024);
    cr_assert_geq(value("process_max_fds"), fds);
    double began = value("process_start_time_seconds"), now = (double)time(NULL);
    cr_assert(began <= now + 1 && began > now - 3600, "%f, and now is %f", began, now);
    double cpu = value("process_cpu_seconds_total");
    for (clock_t until = clock() + CLOCKS_PER_SEC / 20; clock() < until;)
        ;
    cr_assert_geq(value("process_cpu_seconds_total"), cpu + 0.03);
}
