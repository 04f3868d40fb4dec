/* A bad header is an error and never falls through as data: who may set the client's address must say it in full. */
#include "edge/serve/proxy_line.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "edge/base/span.h"

enum { PROXY_V1_MAX = 107, PROXY_V2_HEAD = 16 };

static const char proxy_v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static bool proxy_line_port(span_t s, uint16_t *out)
{
    unsigned v = 0;
    if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s.p[i] - '0');
    }
    *out = htons((uint16_t)v);
    return v <= 65535;
}

static bool proxy_line_address(int family, span_t s, void *out)
{
    char text[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(family, text, out) == 1;
}

static err_t proxy_line_v1(span_t line, proxy_line_t *out)
{
    span_t word[6];
    size_t words = 0;
    for (span_t rest = line; words < 6; words++) {
        size_t sp = span_find(rest, ' ');
        word[words] = span_upto(rest, sp);
        if (sp == rest.n) {
            words++;
            break;
        }
        rest = span_from(rest, sp + 1);
    }
    if (words < 2 || !span_eq(word[0], SPAN("PROXY")))
        return ERR_MALFORMED;
    if (span_eq(word[1], SPAN("UNKNOWN")))
        return ERR_OK;
    uint16_t source_port, port;
    if (words != 6 || word[5].p + word[5].n != line.p + line.n || !proxy_line_port(word[4], &source_port) ||
        !proxy_line_port(word[5], &port))
        return ERR_MALFORMED;
    struct in6_addr other;
    if (span_eq(word[1], SPAN("TCP4"))) {
        struct sockaddr_in *in = (struct sockaddr_in *)&out->source;
        in->sin_family = AF_INET;
        in->sin_port = source_port;
        if (!proxy_line_address(AF_INET, word[2], &in->sin_addr) || !proxy_line_address(AF_INET, word[3], &other))
            return ERR_MALFORMED;
        out->len = sizeof *in;
        return ERR_OK;
    }
    if (span_eq(word[1], SPAN("TCP6"))) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->source;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = source_port;
        if (!proxy_line_address(AF_INET6, word[2], &in6->sin6_addr) || !proxy_line_address(AF_INET6, word[3], &other))
            return ERR_MALFORMED;
        out->len = sizeof *in6;
        return ERR_OK;
    }
    return ERR_MALFORMED;
}

static err_t proxy_line_v2(const unsigned char *b, size_t n, proxy_line_t *out, size_t *used)
{
    if (n < PROXY_V2_HEAD)
        return ERR_AGAIN;
    size_t length = (size_t)b[14] << 8 | b[15];
    if (b[12] >> 4 != 2 || (b[12] & 15) > 1 || PROXY_V2_HEAD + length > PROXY_LINE_MAX)
        return ERR_MALFORMED;
    if (n < PROXY_V2_HEAD + length)
        return ERR_AGAIN;
    *used = PROXY_V2_HEAD + length;
    if ((b[12] & 15) == 0) /* LOCAL: a health check of the proxy itself */
        return ERR_OK;
    const unsigned char *a = b + PROXY_V2_HEAD;
    if (b[13] >> 4 == 1) {
        struct sockaddr_in *in = (struct sockaddr_in *)&out->source;
        if (length < 12)
            return ERR_MALFORMED;
        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, a, 4);
        memcpy(&in->sin_port, a + 8, 2);
        out->len = sizeof *in;
    } else if (b[13] >> 4 == 2) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->source;
        if (length < 36)
            return ERR_MALFORMED;
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, a, 16);
        memcpy(&in6->sin6_port, a + 32, 2);
        out->len = sizeof *in6;
    }
    return ERR_OK;
}

err_t proxy_line_parse(const char *buf, size_t n, proxy_line_t *out, size_t *used)
{
    memset(out, 0, sizeof *out);
    *used = 0;
    size_t common = n < sizeof proxy_v2_signature ? n : sizeof proxy_v2_signature;
    if (memcmp(buf, proxy_v2_signature, common) == 0) {
        if (common < sizeof proxy_v2_signature)
            return ERR_AGAIN;
        return proxy_line_v2((const unsigned char *)buf, n, out, used);
    }
    common = n < 6 ? n : 6;
    if (memcmp(buf, "PROXY ", common) != 0)
        return ERR_MALFORMED;
    const char *end = memchr(buf, '\n', n < PROXY_V1_MAX ? n : PROXY_V1_MAX);
    if (end == NULL)
        return n < PROXY_V1_MAX ? ERR_AGAIN : ERR_MALFORMED;
    if (end == buf || end[-1] != '\r')
        return ERR_MALFORMED;
    *used = (size_t)(end - buf) + 1;
    err_t e = proxy_line_v1(span_of(buf, (size_t)(end - buf) - 1), out);
    if (e != ERR_OK)
        out->len = 0;
    return e;
}
