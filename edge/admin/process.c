/* Read from /proc at each export. Where /proc is not mounted, the metrics that need it are 0. */
#include "edge/admin/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/tbl/metrics.h"

static double process_cpu(void *arg)
{
    (void)arg;
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double process_rss(void *arg)
{
    (void)arg;
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long size, resident = 0;
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double process_fds(void *arg)
{
    (void)arg;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return 0;
    double n = -1; /* opendir's own */
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static double process_max_fds(void *arg)
{
    (void)arg;
    struct rlimit r;
    return getrlimit(RLIMIT_NOFILE, &r) == 0 ? (double)r.rlim_cur : 0;
}

/* Field 22 of /proc/self/stat: ticks between the machine's start and the process's. The name before it may hold
 * anything, so the fields are counted from its last parenthesis. */
static double process_started(const now_t *now)
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (f == NULL)
        return (double)now->wall / 1000;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    unsigned long long ticks = 0;
    for (int field = 2; p != NULL && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p == NULL || sscanf(p, " %llu", &ticks) != 1)
        return (double)now->wall / 1000;
    double boot = (double)(now->wall - now->boot) / 1000;
    return boot + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void process_metrics(void)
{
    now_t now = clock_now();
    metrics_gauge_set(METRIC_PROCESS_START, 0, (int64_t)process_started(&now));
    metrics_gauge_source(METRIC_PROCESS_CPU, 0, process_cpu, NULL);
    metrics_gauge_source(METRIC_PROCESS_RSS, 0, process_rss, NULL);
    metrics_gauge_source(METRIC_PROCESS_FDS, 0, process_fds, NULL);
    metrics_gauge_source(METRIC_PROCESS_MAX_FDS, 0, process_max_fds, NULL);
}
