/* The rings and the writer: what is accepted is written, whole and in order; what can't be is dropped and counted, and
 * nobody waits. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/admin/accesslog.h"
#include "edge/admin/recent.h"
#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/tbl/metrics.h"

static char dir[] = "/tmp/brink-accesslog-XXXXXX";
static char path[128], other[128];
static char err[256];

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/access.log", dir);
    snprintf(other, sizeof other, "%s/access.log.1", dir);
}
static void teardown(void)
{
    unlink(path);
    unlink(other);
    rmdir(dir);
}
TestSuite(accesslog, .init = setup, .fini = teardown);

static accesslog_t *opened(accesslog_to_t to, const char *where, unsigned workers, size_t ring)
{
    accesslog_options_t o = {.to = to, .format = ACCESSLOG_JSON, .path = where, .workers = workers, .ring_bytes = ring};
    accesslog_t *log;
    cr_assert_eq(accesslog_open(&o, &log, err, sizeof err), ERR_OK, "%s", err);
    return log;
}

/* Record number i of a worker; its target's length varies, so that entries end everywhere in the ring. */
static bool write_one(accesslog_t *log, unsigned worker, int i)
{
    static const char filler[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    accesslog_record_t r = {.time = 1700000000000,
                            .status = (int)worker,
                            .duration_us = i,
                            .upstream_us = -1,
                            .protocol = 11,
                            .method = SPAN("GET"),
                            .target = span_of(filler, (size_t)(i * 7 % 89)),
                            .user_agent = SPAN("")};
    return accesslog_write(log, worker, &r);
}

/* Reads the file: lines of each worker are in order. Returns their number. */
static int read_lines(const char *from, int *last, unsigned workers)
{
    FILE *f = fopen(from, "r");
    cr_assert_not_null(f);
    char *text = NULL;
    size_t size = 0;
    int n = 0;
    for (; getline(&text, &size, f) > 0; n++) {
        json_t *j = json_loads(text, 0, NULL);
        cr_assert_not_null(j, "not JSON: %s", text);
        long long w = json_integer_value(json_object_get(j, "status")),
                  i = json_integer_value(json_object_get(j, "duration_us"));
        cr_assert_lt(w, (long long)workers);
        cr_assert_gt(i, last[w], "out of order or twice");
        last[w] = (int)i;
        cr_assert_eq((long long)json_string_length(json_object_get(j, "target")), i * 7 % 89);
        cr_assert_str_eq(json_string_value(json_object_get(j, "user_agent")), "");
        cr_assert_null(json_object_get(j, "referer"));
        json_decref(j);
    }
    free(text);
    fclose(f);
    return n;
}

Test(accesslog, off_swallows_everything)
{
    accesslog_options_t o = {.to = ACCESSLOG_OFF, .workers = 1};
    accesslog_t *log = (accesslog_t *)&o;
    cr_assert_eq(accesslog_open(&o, &log, err, sizeof err), ERR_OK);
    cr_assert_null(log);
    cr_assert_not(write_one(log, 0, 0));
    accesslog_reopen(log);
    accesslog_close(log);
}

/* A reply that is looked at where it was given. */
typedef struct given {
    handler_reply_t reply;
    json_t *body;
} given_t;

static void given_send(handler_reply_t *r, handler_response_t *resp)
{
    given_t *g = CONTAINER_OF(r, given_t, reply);
    g->body = resp->status == 200 ? json_loadb(resp->body, resp->body_len, 0, NULL) : NULL;
    handler_response_release(resp);
}

static size_t asked(recent_t *recent, const char *query)
{
    given_t g = {.reply = {given_send}};
    handler_request_t req = {.query = span_str(query)};
    recent_handle(recent, &req, &g.reply);
    cr_assert_not_null(g.body, "%s", query);
    size_t n = json_array_size(json_object_get(g.body, "lines"));
    json_decref(g.body);
    return n;
}

Test(accesslog, off_keeps_lines_for_who_asks)
{
    recent_t *recent = recent_new();
    accesslog_options_t o = {.to = ACCESSLOG_OFF, .workers = 1, .recent = recent};
    accesslog_t *log = NULL;
    cr_assert_eq(accesslog_open(&o, &log, err, sizeof err), ERR_OK);
    cr_assert_not_null(log);
    msec_t now = clock_now().wall;
    cr_expect_not(accesslog_wanted(log, now));
    cr_expect_eq(asked(recent, ""), 0);
    cr_expect(accesslog_wanted(log, now));
    cr_expect_not(accesslog_wanted(log, now + RECENT_WATCHED * 2));
    for (int i = 0; i < 100; i++)
        cr_assert(write_one(log, 0, i));
    accesslog_reopen(log);
    accesslog_close(log);
    cr_expect_eq(asked(recent, "last=30"), 30);
    cr_expect_eq(asked(recent, "after=40"), 60);
    cr_expect_eq(asked(recent, "after=0&host=nobody"), 0);
    recent_free(recent);
}

Test(accesslog, every_line_is_written_in_order)
{
    accesslog_t *log = opened(ACCESSLOG_FILE, path, 2, 0);
    for (int i = 0; i < 1000; i++)
        for (unsigned w = 0; w < 2; w++)
            cr_assert(write_one(log, w, i));
    accesslog_close(log);
    int last[2] = {-1, -1};
    cr_assert_eq(read_lines(path, last, 2), 2000);
    cr_assert_eq(metrics_total(METRIC_LOG_LINES), 2000);
    cr_assert_eq(metrics_total(METRIC_LOG_DROPPED), 0);
}

Test(accesslog, a_small_ring_wraps_and_drops_no_more_than_it_must)
{
    accesslog_t *log = opened(ACCESSLOG_FILE, path, 1, 4096);
    int accepted = 0, i = 0;
    for (; accepted < 2000; i++) {
        if (write_one(log, 0, i))
            accepted++;
        else
            usleep(1000); /* the writer empties it meanwhile */
    }
    accesslog_close(log);
    int last[1] = {-1};
    cr_assert_eq(read_lines(path, last, 1), accepted);
    cr_assert_eq(metrics_total(METRIC_LOG_LINES), (uint64_t)accepted);
    cr_assert_eq(metrics_total(METRIC_LOG_DROPPED), (uint64_t)(i - accepted));
}

Test(accesslog, lines_come_soon_without_being_asked)
{
    accesslog_t *log = opened(ACCESSLOG_FILE, path, 1, 0);
    for (int i = 0; i < 3; i++) {
        usleep(50 * 1000); /* the writer sleeps by now */
        cr_assert(write_one(log, 0, i));
        int64_t until = clock_nanos() + INT64_C(5000000000);
        while (metrics_total(METRIC_LOG_LINES) <= (uint64_t)i && clock_nanos() < until)
            usleep(1000);
        cr_assert_eq(metrics_total(METRIC_LOG_LINES), (uint64_t)i + 1);
    }
    accesslog_close(log);
}

Test(accesslog, reopen_goes_on_in_a_new_file)
{
    accesslog_t *log = opened(ACCESSLOG_FILE, path, 1, 0);
    for (int i = 0; i < 10; i++)
        cr_assert(write_one(log, 0, i));
    while (metrics_total(METRIC_LOG_LINES) < 10)
        usleep(1000);
    cr_assert_eq(rename(path, other), 0);
    accesslog_reopen(log);
    while (access(path, F_OK) != 0)
        usleep(1000);
    for (int i = 10; i < 15; i++)
        cr_assert(write_one(log, 0, i));
    accesslog_close(log);
    int last[1] = {-1};
    cr_assert_eq(read_lines(other, last, 1), 10);
    cr_assert_eq(read_lines(path, last, 1), 5);
}

Test(accesslog, a_file_that_cannot_be_opened)
{
    accesslog_options_t o = {.to = ACCESSLOG_FILE, .path = "/nowhere/at/all.log", .workers = 1};
    accesslog_t *log;
    cr_assert_eq(accesslog_open(&o, &log, err, sizeof err), ERR_IO);
    cr_assert_null(log);
    cr_assert_not_null(strstr(err, "/nowhere/at/all.log"), "%s", err);
}

Test(accesslog, a_full_file_system_loses_lines_and_counts_them)
{
    accesslog_t *log = opened(ACCESSLOG_FILE, "/dev/full", 1, 0);
    for (int i = 0; i < 100; i++)
        cr_assert(write_one(log, 0, i));
    accesslog_close(log);
    cr_assert_eq(metrics_total(METRIC_LOG_LINES), 0);
    cr_assert_eq(metrics_total(METRIC_LOG_DROPPED), 100);
    cr_assert_geq(metrics_total(METRIC_LOG_ERRORS), 1);
}

Test(accesslog, a_reader_that_stops_holds_nobody_up)
{
    int p[2];
    cr_assert_eq(pipe(p), 0);
    int saved = dup(STDOUT_FILENO);
    cr_assert_eq(dup2(p[1], STDOUT_FILENO), STDOUT_FILENO);
    accesslog_t *log = opened(ACCESSLOG_STDOUT, NULL, 1, 65536);
    int64_t began = clock_nanos(), worst = 0;
    int i = 0;
    for (; i < 20000; i++) {
        int64_t before = clock_nanos();
        write_one(log, 0, i);
        int64_t took = clock_nanos() - before;
        worst = took > worst ? took : worst;
    }
    cr_assert_lt(clock_nanos() - began, INT64_C(10000000000));
    cr_assert_gt(metrics_total(METRIC_LOG_DROPPED), 1000); /* a pipe holds 64 KiB */
    began = clock_nanos();
    accesslog_close(log);
    cr_assert_lt(clock_nanos() - began, INT64_C(4000000000), "close waits at most about a second");
    cr_assert_eq(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    close(p[1]);
    static char got[1 << 20];
    ssize_t n = 0, m;
    while ((m = read(p[0], got + n, sizeof got - (size_t)n)) > 0)
        n += m;
    cr_assert_gt(n, 10000);
    cr_assert_eq(metrics_total(METRIC_LOG_LINES) + metrics_total(METRIC_LOG_DROPPED), (uint64_t)i,
                 "%llu written, %llu dropped", (unsigned long long)metrics_total(METRIC_LOG_LINES),
                 (unsigned long long)metrics_total(METRIC_LOG_DROPPED));
}

Test(accesslog, a_reader_that_went_away)
{
    int p[2];
    cr_assert_eq(pipe(p), 0);
    int saved = dup(STDOUT_FILENO);
    cr_assert_eq(dup2(p[1], STDOUT_FILENO), STDOUT_FILENO);
    close(p[1]);
    close(p[0]);
    accesslog_t *log = opened(ACCESSLOG_STDOUT, NULL, 1, 0);
    for (int i = 0; i < 10; i++)
        cr_assert(write_one(log, 0, i));
    accesslog_close(log); /* no SIGPIPE */
    cr_assert_eq(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    cr_assert_eq(metrics_total(METRIC_LOG_DROPPED), 10);
}

Test(accesslog, syslog_gets_a_datagram_a_line)
{
    int s = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/log", dir);
    accesslog_t *log = opened(ACCESSLOG_SYSLOG, a.sun_path, 1, 0); /* the daemon starts later */
    cr_assert_eq(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    for (int i = 0; i < 5; i++)
        cr_assert(write_one(log, 0, i));
    char prefix[64], message[4096];
    snprintf(prefix, sizeof prefix, "<134>brink[%d]: {\"time\":", (int)getpid());
    for (int i = 0; i < 5; i++) {
        ssize_t n = recv(s, message, sizeof message - 1, 0);
        cr_assert_gt(n, 0);
        message[n] = '\0';
        cr_assert_eq(strncmp(message, prefix, strlen(prefix)), 0, "%s", message);
        cr_assert_eq(message[n - 1], '}');
        json_t *j = json_loads(strchr(message, '{'), 0, NULL);
        cr_assert_eq(json_integer_value(json_object_get(j, "duration_us")), i);
        json_decref(j);
    }
    accesslog_close(log);
    close(s);
    unlink(a.sun_path);
}
