#include <criterion/criterion.h>

#include "edge/http/upgrade.h"

static arena_t arena;

static fields_t fields(const char *connection, const char *key, const char *version)
{
    fields_t f;
    fields_init(&f, &arena);
    if (connection != NULL)
        fields_add(&f, SPAN("connection"), span_str(connection));
    if (key != NULL)
        fields_add(&f, SPAN("sec-websocket-key"), span_str(key));
    if (version != NULL)
        fields_add(&f, SPAN("sec-websocket-version"), span_str(version));
    return f;
}

Test(upgrade, nothing_that_carries_requests)
{
    static const char *const good[] = {"websocket", "WebSocket", "tcp", "SPDY/3.1", "irc/2.0"};
    static const char *const bad[] = {"h2c",   "H2C", "h2c-14", "HTTP/2.0",    "http",       "TLS/1.2",
                                      "h2",    "h3",  "",       "a b",         "a/",         "/a",
                                      "a/b/c", "a,b", "\"a\"",  "connect-udp", "CONNECT-IP", "tls"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect(upgrade_permissible(span_str(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(upgrade_permissible(span_str(bad[i])), "%s", bad[i]);
}

Test(upgrade, connection_must_say_so)
{
    arena_init(&arena, 0);
    static const char *const yes[] = {"upgrade", "Upgrade", "keep-alive, Upgrade", ",,UPGRADE,"};
    static const char *const no[] = {"", "keep-alive", "upgrade-insecure", "close", "\"upgrade\""};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        fields_t f = fields(yes[i], NULL, NULL);
        cr_expect(upgrade_asked(&f), "%s", yes[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        fields_t f = fields(no[i], NULL, NULL);
        cr_expect_not(upgrade_asked(&f), "%s", no[i]);
    }
    fields_t none = fields(NULL, NULL, NULL);
    cr_expect_not(upgrade_asked(&none));
    arena_release(&arena);
}

Test(upgrade, only_what_is_allowed_goes_on)
{
    static const span_t allowed[] = {SPAN("websocket"), SPAN("tcp"), SPAN("chat/1.0")};
    static const struct {
        const char *offered, *selected;
        method_t method;
    } cases[] = {
        {"websocket", "websocket", METHOD_GET},
        {"h2c, WebSocket", "WebSocket", METHOD_GET},
        {"h2c", NULL, METHOD_GET},
        {"tcp, foo/1, websocket", "tcp, websocket", METHOD_GET},
        {"websocket", NULL, METHOD_POST},
        {"websocket, tcp", "tcp", METHOD_POST},
        {"websocket, tcp", NULL, METHOD_HEAD},
        {"chat", NULL, METHOD_GET},
        {"chat/1.0", "chat/1.0", METHOD_GET},
        {"chat/1.0.1", NULL, METHOD_GET},
        {"", NULL, METHOD_GET},
        {" , ,", NULL, METHOD_GET},
        {"websocket h2c", NULL, METHOD_GET},
    };
    arena_init(&arena, 0);
    fields_t good = fields("upgrade", "dGhlIHNhbXBsZSBub25jZQ==", "13");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        span_t got = upgrade_select(span_str(cases[i].offered), allowed, 3, cases[i].method, &good, &arena);
        cr_expect(cases[i].selected == NULL ? got.p == NULL : span_eq(got, span_str(cases[i].selected)), "%s gave %.*s",
                  cases[i].offered, SPAN_ARG(got));
    }
    /* A handshake that no server would take is an ordinary request. */
    fields_t bad[] = {fields("upgrade", NULL, "13"), fields("upgrade", "k", NULL), fields("upgrade", "k", "777")};
    for (size_t i = 0; i < 3; i++)
        cr_expect_null(upgrade_select(SPAN("websocket"), allowed, 3, METHOD_GET, &bad[i], &arena).p);
    cr_expect_null(upgrade_select(SPAN("websocket"), NULL, 0, METHOD_GET, &good, &arena).p);
    arena_release(&arena);
}

Test(upgrade, the_server_names_one_of_those)
{
    cr_expect(upgrade_agreed(SPAN("websocket"), SPAN("WebSocket")));
    cr_expect(upgrade_agreed(SPAN("tcp, websocket"), SPAN("websocket")));
    cr_expect_not(upgrade_agreed(SPAN("websocket"), SPAN("h2c")));
    cr_expect_not(upgrade_agreed(SPAN("websocket"), SPAN("websocket, h2c")));
    cr_expect_not(upgrade_agreed(SPAN("websocket"), SPAN("")));
    cr_expect_not(upgrade_agreed(SPAN("websocket"), SPAN_NONE));
}
