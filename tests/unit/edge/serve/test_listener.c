#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "edge/serve/serve_priv.h"

Test(listener, addresses)
{
    listener_address_t a;
    char err[SERVE_ERROR_MAX];
    cr_assert_eq(listener_parse("127.0.0.1:8080", &a, err, sizeof err), ERR_OK);
    cr_expect_eq(a.sa.ss_family, AF_INET);
    cr_expect_eq(ntohs(((struct sockaddr_in *)&a.sa)->sin_port), 8080);
    cr_assert_eq(listener_parse("[::1]:65535", &a, err, sizeof err), ERR_OK);
    cr_expect_eq(a.sa.ss_family, AF_INET6);
    cr_assert_eq(listener_parse("*:0", &a, err, sizeof err), ERR_OK);
    cr_expect_eq(a.sa.ss_family, AF_INET6);
    cr_assert_eq(listener_parse("unix:/run/x.sock", &a, err, sizeof err), ERR_OK);
    cr_expect_eq(a.sa.ss_family, AF_UNIX);
    static const char *const bad[] = {
        "",       "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 80",
        "host:1", "[::1",      "[::1]",      "::1:80x",         "[1.2.3.4]:80", "unix:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err[0] = '\0';
        cr_expect_eq(listener_parse(bad[i], &a, err, sizeof err), ERR_SYNTAX, "%s", bad[i]);
        cr_expect_gt(strlen(err), 10U, "%s", bad[i]);
    }
    char path[300] = "unix:";
    memset(path + 5, 'a', 200);
    cr_expect_eq(listener_parse(path, &a, err, sizeof err), ERR_SYNTAX);
}

Test(listener, all_workers_share_the_port_and_a_second_process_is_told)
{
    serve_listen_t l = {.address = "127.0.0.1:0"};
    serve_options_t o = {.listens = &l, .listen_count = 1, .workers = 3};
    serve_limits_default(&o.limits);
    serve_shared_t *s, *again;
    char err[SERVE_ERROR_MAX], address[64];
    cr_assert_eq(serve_open(&o, &s, err, sizeof err), ERR_OK);
    cr_expect_gt(serve_port(s, 0), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", serve_port(s, 0));
    serve_inherited_t h[4];
    size_t n = 0;
    while (serve_socket_at(s, n, &h[n]))
        n++;
    cr_expect_eq(n, 3U);
    cr_expect(h[0].fd != h[1].fd && h[1].fd != h[2].fd);
    serve_listen_t same = {.address = address};
    o.listens = &same;
    cr_expect_eq(serve_open(&o, &again, err, sizeof err), ERR_EXISTS);
    cr_expect(strstr(err, address) != NULL && strstr(err, "is taken") != NULL, "%s", err);
    /* handed on: taken over without binding; what is left over is closed */
    serve_inherited_t mine[4];
    for (size_t i = 0; i < 3; i++)
        mine[i] = (serve_inherited_t){address, (unsigned)i, dup(h[i].fd)};
    mine[3] = (serve_inherited_t){"127.0.0.1:1", 0, dup(h[0].fd)};
    o.inherited = mine;
    o.inherited_count = 4;
    cr_assert_eq(serve_open(&o, &again, err, sizeof err), ERR_OK, "%s", err);
    cr_expect_eq(serve_port(again, 0), serve_port(s, 0));
    cr_expect_eq(write(mine[3].fd, "", 0), -1);
    serve_close(again);
    serve_close(s);
}
