/* The delays between attempts, on a clock that the test moves. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "purge/redis_conn.h"

static loop_t loop;
static purge_server_t nobody;
static redis_conn_t conn;
static int held;

static void setup(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    held = socket(AF_INET, SOCK_STREAM, 0); /* bound, so that nobody else listens there either */
    cr_assert(held >= 0 && bind(held, (struct sockaddr *)&at, sizeof at) == 0);
    cr_assert(getsockname(held, (struct sockaddr *)&at, &n) == 0);
    nobody = (purge_server_t){.kind = PURGE_SERVER_TCP, .shown = "redis://nobody", .hosts_n = 1};
    nobody.hosts[0].host = "127.0.0.1";
    nobody.hosts[0].port = ntohs(at.sin_port);
    cr_assert_eq(loop_init(&loop, 0, false), 0);
    redis_conn_init(&conn, &loop, &nobody, "test", &(redis_conn_events_t){.ctx = NULL});
}
static void teardown(void)
{
    redis_conn_release(&conn);
    loop_release(&loop);
    close(held);
}
TestSuite(redis_conn, .init = setup, .fini = teardown, .timeout = 60);

/* Until the attempt under way has failed; how long the next one is put off. */
static msec_t refused(void)
{
    for (int turn = 0; conn.state != REDIS_CONN_IDLE && turn < 100; turn++) {
        struct pollfd fd;
        redis_conn_poll(&conn, &fd);
        poll(&fd, 1, fd.fd >= 0 ? 100 : 0);
        redis_conn_ready(&conn, fd.revents);
        redis_conn_tick(&conn);
    }
    cr_assert_eq(conn.state, REDIS_CONN_IDLE);
    cr_assert_neq(conn.retry.at, 0);
    return conn.retry.due - loop.now.boot;
}

static msec_t tries_again(void)
{
    loop.now.boot = conn.retry.due;
    cr_assert_eq(loop_run_timers(&loop), 1);
    cr_assert_neq(conn.state, REDIS_CONN_IDLE);
    return refused();
}

Test(redis_conn, the_delay_grows_to_a_bound)
{
    redis_conn_start(&conn);
    cr_assert_lt(refused(), 75);
    msec_t delay = 0;
    for (int i = 0; i < 20; i++) {
        delay = tries_again();
        cr_assert_lt(delay, 3000);
    }
    cr_assert_geq(delay, 1000);
}

Test(redis_conn, what_waits_tries_at_once_when_the_server_is_known_to_answer)
{
    redis_conn_start(&conn);
    refused();
    for (int i = 0; i < 10; i++)
        tries_again();
    redis_conn_hurry(&conn);
    cr_assert_eq(conn.retry.due, loop.now.boot);
    cr_assert_lt(tries_again(), 75, "and from then on as if it were the first time");
}

Test(redis_conn, what_is_under_way_or_not_wanted_is_left_alone)
{
    redis_conn_hurry(&conn);
    cr_assert(conn.state == REDIS_CONN_IDLE && conn.retry.at == 0, "it was never started");
    redis_conn_start(&conn);
    redis_conn_hurry(&conn);
    cr_assert(conn.state == REDIS_CONN_CONNECTING && conn.retry.at == 0);
}
