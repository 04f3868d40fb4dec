#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "edge/serve/proxy_line.h"

static err_t parse(const char *text, size_t n, proxy_line_t *out, size_t *used)
{
    /* every prefix must ask for more, never fail or succeed early */
    for (size_t i = 0; i < n; i++) {
        char copy[PROXY_LINE_MAX + 1];
        memcpy(copy, text, i);
        proxy_line_t ignored;
        size_t also;
        err_t e = proxy_line_parse(copy, i, &ignored, &also);
        if (e != ERR_AGAIN)
            return e;
    }
    return proxy_line_parse(text, n, out, used);
}

Test(proxy_line, version_1)
{
    proxy_line_t l;
    size_t used;
    const char text[] = "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\nGET";
    cr_assert_eq(proxy_line_parse(text, sizeof text - 1, &l, &used), ERR_OK);
    cr_expect_eq(used, sizeof text - 4);
    struct sockaddr_in *in = (struct sockaddr_in *)&l.source;
    cr_expect_eq(in->sin_addr.s_addr, inet_addr("192.0.2.7"));
    cr_expect_eq(ntohs(in->sin_port), 56324);
    const char six[] = "PROXY TCP6 2001:db8::7 ::1 1 2\r\n";
    cr_assert_eq(parse(six, sizeof six - 1, &l, &used), ERR_OK);
    cr_expect_eq(l.source.ss_family, AF_INET6);
    const char unknown[] = "PROXY UNKNOWN\r\n";
    cr_assert_eq(parse(unknown, sizeof unknown - 1, &l, &used), ERR_OK);
    cr_expect_eq(l.len, 0);
}

Test(proxy_line, version_2)
{
    proxy_line_t l;
    size_t used;
    const char v4[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\2\7\xc0\0\2\1\xdc\4\1\xbb\4\0\0";
    cr_assert_eq(parse(v4, sizeof v4 - 1, &l, &used), ERR_OK);
    cr_expect_eq(used, sizeof v4 - 1);
    cr_expect_eq(((struct sockaddr_in *)&l.source)->sin_addr.s_addr, inet_addr("192.0.2.7"));
    const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    cr_assert_eq(parse(local, sizeof local - 1, &l, &used), ERR_OK);
    cr_expect_eq(l.len, 0);
}

Test(proxy_line, malformed)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    };
    proxy_line_t l;
    size_t used;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect_eq(proxy_line_parse(bad[i], strlen(bad[i]), &l, &used), ERR_MALFORMED, "%s", bad[i]);
        cr_expect_eq(l.len, 0);
    }
    char endless[300] = "PROXY TCP4 ";
    memset(endless + 11, '1', sizeof endless - 11);
    cr_expect_eq(proxy_line_parse(endless, sizeof endless, &l, &used), ERR_MALFORMED);
    const char version[] = "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............",
               short_v4[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\2..", huge[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
    cr_expect_eq(proxy_line_parse(version, sizeof version - 1, &l, &used), ERR_MALFORMED);
    cr_expect_eq(proxy_line_parse(short_v4, sizeof short_v4 - 1, &l, &used), ERR_MALFORMED);
    cr_expect_eq(proxy_line_parse(huge, sizeof huge - 1, &l, &used), ERR_MALFORMED);
}
