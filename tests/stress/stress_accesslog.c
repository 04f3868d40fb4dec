/* Workers log as fast as they can into small rings while the file is rotated under the writer: every accepted line is
 * in one of the files, whole, and accepted + dropped = asked. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/admin/accesslog.h"
#include "edge/base/check.h"
#include "edge/tbl/metrics.h"

enum { WORKERS = 4, LINES = 20000 };

static accesslog_t *logger;
static _Atomic unsigned long accepted;
static _Atomic bool over;

static void *work(void *arg)
{
    unsigned me = (unsigned)(size_t)arg;
    char target[512];
    memset(target, 'x', sizeof target);
    for (int i = 0; i < LINES; i++) {
        accesslog_record_t r = {.time = i, .status = (int)me, .duration_us = i, .upstream_us = -1, .protocol = 20};
        r.target = span_of(target, (size_t)(i * 31 % 500));
        if (accesslog_write(logger, me, &r))
            atomic_fetch_add(&accepted, 1);
        if (i % 20 == 19)
            usleep(200);
    }
    return NULL;
}

static char path[64], rotated[80];

static void *rotate(void *arg)
{
    for (int i = 0; !atomic_load(&over); i++) {
        usleep(3000);
        snprintf(rotated, sizeof rotated, "%s.%d", path, i % 1000);
        CHECK(rename(path, rotated) == 0);
        accesslog_reopen(logger);
        for (int tries = 0; access(path, F_OK) != 0; tries++) {
            CHECK(tries < 100000);
            usleep(100);
        }
    }
    return arg;
}

static unsigned long count(const char *name)
{
    FILE *f = fopen(name, "r");
    if (f == NULL)
        return 0;
    char *text = NULL;
    size_t size = 0;
    unsigned long n = 0;
    for (ssize_t m; (m = getline(&text, &size, f)) > 0; n++)
        CHECK(strncmp(text, "{\"time\":\"1970-01-01T00:", 23) == 0 && strcmp(text + m - 2, "}\n") == 0);
    free(text);
    fclose(f);
    CHECK(unlink(name) == 0);
    return n;
}

int main(void)
{
    char dir[] = "/tmp/brink-stress-XXXXXX", err[256];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/log", dir);
    accesslog_options_t o = {
        .to = ACCESSLOG_FILE, .format = ACCESSLOG_JSON, .path = path, .workers = WORKERS, .ring_bytes = 65536};
    CHECK(accesslog_open(&o, &logger, err, sizeof err) == ERR_OK);
    pthread_t t[WORKERS], r;
    CHECK(pthread_create(&r, NULL, rotate, NULL) == 0);
    for (size_t i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&t[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(t[i], NULL);
    atomic_store(&over, true);
    pthread_join(r, NULL);
    accesslog_close(logger);
    unsigned long n = count(path);
    for (int i = 0; i < 1000; i++) {
        snprintf(rotated, sizeof rotated, "%s.%d", path, i);
        n += count(rotated);
    }
    CHECK(rmdir(dir) == 0);
    CHECK(n == atomic_load(&accepted));
    CHECK(n == metrics_total(METRIC_LOG_LINES));
    CHECK(n + metrics_total(METRIC_LOG_DROPPED) == (unsigned long)WORKERS * LINES);
    printf("%lu lines written, %llu dropped\n", n, (unsigned long long)metrics_total(METRIC_LOG_DROPPED));
    return 0;
}
