#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "edge/conf/address.h"

static arena_t arena;
static const char *why;

static conf_address_t listen_ok(const char *text)
{
    conf_address_t out;
    cr_assert_eq(address_listen(&arena, span_str(text), SPAN("/etc/brink/"), &out, &why), ERR_OK, "%s: %s", text, why);
    return out;
}

static const char *listen_bad(const char *text)
{
    conf_address_t out;
    why = NULL;
    cr_assert_neq(address_listen(&arena, span_str(text), SPAN(""), &out, &why), ERR_OK, "%s", text);
    cr_assert_not_null(why);
    return why;
}

Test(address, listen_on)
{
    conf_address_t a = listen_ok("127.0.0.1:8080");
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a.sa;
    cr_assert_eq(a.kind, CONF_TCP4);
    cr_assert_eq(a.port, 8080);
    cr_assert_eq(in->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    cr_assert_eq(in->sin_port, htons(8080));
    cr_assert(span_eq(a.host, SPAN("127.0.0.1")));

    a = listen_ok("[::1]:443");
    cr_assert_eq(a.kind, CONF_TCP6);
    cr_assert(IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a.sa)->sin6_addr));
    cr_assert(span_eq(a.host, SPAN("::1")));

    a = listen_ok("unix:/run/brink.sock");
    cr_assert_eq(a.kind, CONF_UNIX);
    cr_assert_str_eq(((const struct sockaddr_un *)&a.sa)->sun_path, "/run/brink.sock");
    a = listen_ok("unix:run/x.sock");
    cr_assert(span_eq(a.path, SPAN("/etc/brink/run/x.sock")));
}

Test(address, listen_says_what_would_be_right)
{
    cr_assert_not_null(strstr(listen_bad("8080"), "0.0.0.0:PORT"));
    cr_assert_not_null(strstr(listen_bad(":8080"), "0.0.0.0:80"));
    cr_assert_not_null(strstr(listen_bad("*:8080"), "0.0.0.0:80"));
    cr_assert_not_null(strstr(listen_bad("127.0.0.1"), "with a port"));
    cr_assert_not_null(strstr(listen_bad("localhost:80"), "numeric"));
    cr_assert_not_null(strstr(listen_bad("::1:80"), "brackets"));
    cr_assert_not_null(strstr(listen_bad("[::1]80"), ":PORT"));
    cr_assert_not_null(strstr(listen_bad("[::g]:80"), "IPv6"));
    cr_assert_not_null(strstr(listen_bad("1.2.3:80"), "four numbers"));
    cr_assert_not_null(strstr(listen_bad("127.0.0.1:0"), "1 to 65535"));
    cr_assert_not_null(strstr(listen_bad("127.0.0.1:65536"), "1 to 65535"));
    cr_assert_not_null(strstr(listen_bad("127.0.0.1:"), "1 to 65535"));
    cr_assert_not_null(strstr(listen_bad("unix:"), "path"));
    char path[200] = "unix:/";
    memset(path + 6, 'a', 107);
    cr_assert_not_null(strstr(listen_bad(path), "107 bytes, this one has 108"));
    path[112] = '\0';
    listen_ok(path);
}

static conf_origin_t origin_ok(const char *text)
{
    conf_origin_t out;
    cr_assert_eq(address_origin(&arena, span_str(text), SPAN(""), &out, &why), ERR_OK, "%s: %s", text, why);
    return out;
}

static const char *origin_bad(const char *text)
{
    conf_origin_t out;
    why = NULL;
    cr_assert_neq(address_origin(&arena, span_str(text), SPAN(""), &out, &why), ERR_OK, "%s", text);
    cr_assert_not_null(why);
    return why;
}

Test(address, origins)
{
    conf_origin_t o = origin_ok("http://127.0.0.1:3000/");
    cr_assert_not(o.https);
    cr_assert_eq(o.port, 3000);
    cr_assert(span_eq(o.url, SPAN("http://127.0.0.1:3000")));
    cr_assert(span_eq(o.authority, SPAN("127.0.0.1:3000")));
    o = origin_ok("HTTPS://Origin.Example.COM:443");
    cr_assert(o.https);
    cr_assert_eq(o.port, 443);
    cr_assert(span_eq(o.url, SPAN("https://origin.example.com")));
    cr_assert(span_eq(o.host, SPAN("origin.example.com")));
    o = origin_ok("http://[2001:DB8::1]");
    cr_assert_eq(o.port, 80);
    cr_assert(span_eq(o.host, SPAN("2001:db8::1")));
    cr_assert(span_eq(o.authority, SPAN("[2001:db8::1]")));
    o = origin_ok("unix:/run/app.sock");
    cr_assert(span_eq(o.unix_path, SPAN("/run/app.sock")));
    cr_assert(span_eq(o.authority, SPAN("localhost")));
    o = origin_ok("http://app_1:8000");
    cr_assert(span_eq(o.host, SPAN("app_1")));
}

Test(address, origins_say_what_would_be_right)
{
    cr_assert_not_null(strstr(origin_bad("127.0.0.1:3000"), "http://"));
    cr_assert_not_null(strstr(origin_bad("ftp://x"), "scheme"));
    cr_assert_not_null(strstr(origin_bad("http://a/b"), "no path"));
    cr_assert_not_null(strstr(origin_bad("http://a?b"), "no path"));
    cr_assert_not_null(strstr(origin_bad("http://u:p@a"), "user"));
    cr_assert_not_null(strstr(origin_bad("http://"), "host"));
    cr_assert_not_null(strstr(origin_bad("http://a b"), "host"));
    cr_assert_not_null(strstr(origin_bad("http://a..b"), "host"));
    cr_assert_not_null(strstr(origin_bad("http://256.1.1.1"), "four numbers"));
    cr_assert_not_null(strstr(origin_bad(""), "http://"));
}

static conf_redis_t redis_ok(const char *text)
{
    conf_redis_t out;
    cr_assert_eq(address_redis(&arena, span_str(text), SPAN(""), &out, &why), ERR_OK, "%s: %s", text, why);
    return out;
}

static const char *redis_bad(const char *text)
{
    conf_redis_t out;
    why = NULL;
    cr_assert_neq(address_redis(&arena, span_str(text), SPAN(""), &out, &why), ERR_OK, "%s", text);
    cr_assert_not_null(why);
    return why;
}

Test(address, redis)
{
    conf_redis_t r = redis_ok("redis://127.0.0.1:6379/0");
    cr_assert_eq(r.kind, CONF_REDIS_TCP);
    cr_assert_eq(r.hosts_n, 1);
    cr_assert_eq(r.hosts[0].port, 6379);
    cr_assert_null(r.password.p);
    r = redis_ok("redis://cache");
    cr_assert_eq(r.hosts[0].port, 6379);
    r = redis_ok("redis://cache:80/2");
    cr_assert_eq(r.hosts[0].port, 80);
    cr_assert_eq(r.db, 2);
    r = redis_ok("redis://:s%40cret%2F@[::1]:7000/3");
    cr_assert(span_eq(r.password, SPAN("s@cret/")));
    cr_assert_null(r.user.p);
    cr_assert(span_eq(r.hosts[0].host, SPAN("::1")));
    cr_assert(span_eq(r.shown, SPAN("redis://[::1]:7000/3")));
    r = redis_ok("redis://me:secret@h");
    cr_assert(span_eq(r.user, SPAN("me")));
    cr_assert_null(strstr(r.shown.p, "secret"));
    r = redis_ok("redis+unix:/run/redis.sock?db=4");
    cr_assert_eq(r.kind, CONF_REDIS_UNIX);
    cr_assert(span_eq(r.unix_path, SPAN("/run/redis.sock")));
    cr_assert_eq(r.db, 4);
    r = redis_ok("redis+unix:///run/redis.sock");
    cr_assert(span_eq(r.unix_path, SPAN("/run/redis.sock")));
    r = redis_ok("redis+sentinel://h1:26379,h2,[::1]/mymaster/1");
    cr_assert_eq(r.kind, CONF_REDIS_SENTINEL);
    cr_assert_eq(r.hosts_n, 3);
    cr_assert_eq(r.hosts[1].port, 26379);
    cr_assert_eq(r.hosts[2].port, 26379);
    cr_assert(span_eq(r.master, SPAN("mymaster")));
    cr_assert_eq(r.db, 1);
}

Test(address, redis_says_what_would_be_right)
{
    cr_assert_not_null(strstr(redis_bad("rediss://h:6379"), "stunnel"));
    cr_assert_not_null(strstr(redis_bad("h:6379"), "redis://"));
    cr_assert_not_null(strstr(redis_bad("redis://"), "no host"));
    cr_assert_not_null(strstr(redis_bad("redis://h/x"), "number"));
    cr_assert_not_null(strstr(redis_bad("redis://h1,h2/0"), "sentinel"));
    cr_assert_not_null(strstr(redis_bad("redis+sentinel://h1,h2"), "master"));
    cr_assert_not_null(strstr(redis_bad("redis+sentinel:///m/0"), "no host"));
    cr_assert_not_null(strstr(redis_bad("redis://secret@h"), "PASSWORD"));
    cr_assert_not_null(strstr(redis_bad("redis://:a%0@h"), "%25"));
    cr_assert_not_null(strstr(redis_bad("redis+unix:/x?name=1"), "?db=N"));
}

static const char *pattern(const char *text)
{
    span_t out;
    why = NULL;
    return address_pattern(&arena, span_str(text), &out, &why) == ERR_OK ? out.p : NULL;
}

Test(address, host_patterns)
{
    cr_assert_str_eq(pattern("WWW.Example.com"), "www.example.com");
    cr_assert_str_eq(pattern("*.Example.com"), "*.example.com");
    cr_assert_str_eq(pattern("*"), "*");
    cr_assert_str_eq(pattern("localhost:8080"), "localhost:8080");
    cr_assert_str_eq(pattern("[::1]"), "[::1]");
    cr_assert_str_eq(pattern("example.com."), "example.com");
    const char *bad[] = {"",   "a*.com", "www.*.com", "http://a", "a/b", "b\303\274cher.de",
                         "*.", "*.a:80", "a..b",      "**"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_null(pattern(bad[i]), "%s", bad[i]);
        cr_assert_not_null(why);
    }
}
