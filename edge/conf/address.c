/* Names are checked as DNS and Host take them (letters, digits, '-', '_', dots; labels of at most 63 bytes), numeric
 * addresses by inet_pton, so that a slip is found when the file is read and not when the first request fails. */
#include "edge/conf/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/un.h>

#include "edge/conf/units.h"

static err_t address_bad(const char **why, const char *text)
{
    *why = text;
    return ERR_SYNTAX;
}

static span_t address_lower(arena_t *a, span_t s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return SPAN_NONE;
    for (size_t i = 0; i < s.n; i++)
        p[i] = span_lower(s.p[i]);
    p[s.n] = '\0';
    return span_of(p, s.n);
}

static bool address_name_valid(span_t s)
{
    if (s.n == 0 || s.n > 253)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = span_lower(s.p[i]);
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return true;
}

/* Names that consist of digits and dots must be addresses. */
static bool address_v4_valid(span_t s, struct in_addr *out)
{
    char text[INET_ADDRSTRLEN];
    if (s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET, text, out) == 1;
}

static bool address_v6_valid(span_t s, struct in6_addr *out)
{
    char text[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET6, text, out) == 1;
}

static bool address_digits_and_dots(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.')
            return false;
    return s.n > 0;
}

typedef struct address_parts {
    span_t host; /* without brackets and trailing dot */
    bool v6, has_port;
    uint16_t port;
} address_parts_t;

static err_t address_split(span_t s, address_parts_t *out, const char **why)
{
    span_t port = SPAN_NONE;
    *out = (address_parts_t){.v6 = s.n > 0 && s.p[0] == '['};
    if (out->v6) {
        size_t end = span_find(s, ']');
        struct in6_addr ignored;
        if (end == s.n || !address_v6_valid(span_of(s.p + 1, end - 1), &ignored))
            return address_bad(why, "between brackets stands an IPv6 address, for example [::1]:8080");
        out->host = span_of(s.p + 1, end - 1);
        span_t rest = span_from(s, end + 1);
        if (rest.n > 0 && rest.p[0] != ':')
            return address_bad(why, "after the bracket comes :PORT or nothing");
        if (rest.n > 0)
            port = span_from(rest, 1);
    } else {
        size_t colon = span_find(s, ':');
        out->host = span_upto(s, colon);
        if (colon < s.n)
            port = span_from(s, colon + 1);
        if (port.p != NULL && span_find(port, ':') < port.n)
            return address_bad(why, "an IPv6 address stands in brackets, for example [::1]:8080");
        if (out->host.n > 1 && out->host.p[out->host.n - 1] == '.')
            out->host.n--;
        struct in_addr ignored;
        if (!address_name_valid(out->host))
            return address_bad(why, "a host is a name of letters, digits, - and ., or an address (IPv6 in brackets)");
        if (address_digits_and_dots(out->host) && !address_v4_valid(out->host, &ignored))
            return address_bad(why, "an IPv4 address has four numbers of 0 to 255, for example 127.0.0.1");
    }
    if (port.p != NULL) {
        int64_t v;
        if (units_count(port, &v) != ERR_OK || v < 1 || v > 65535)
            return address_bad(why, "a port is a number of 1 to 65535");
        out->has_port = true;
        out->port = (uint16_t)v;
    }
    return ERR_OK;
}

static err_t address_unix_path(arena_t *a, span_t path, span_t dir, span_t *out, const char **why)
{
    if (path.n == 0)
        return address_bad(why, "after unix: comes the path of the socket, for example unix:/run/brink.sock");
    *out = path.p[0] == '/' ? arena_copy(a, path) : arena_printf(a, "%.*s%.*s", SPAN_ARG(dir), SPAN_ARG(path));
    if (out->p == NULL)
        return ERR_NO_MEMORY;
    if (out->n >= sizeof((struct sockaddr_un *)0)->sun_path) {
        span_t text = arena_printf(a, "the path of a unix socket has at most %zu bytes, this one has %zu",
                                   sizeof((struct sockaddr_un *)0)->sun_path - 1, out->n);
        *why = text.p;
        return ERR_TOO_BIG;
    }
    return ERR_OK;
}

err_t address_listen(arena_t *a, span_t text, span_t dir, conf_address_t *out, const char **why)
{
    *out = (conf_address_t){.text = arena_copy(a, text)};
    if (span_starts(text, SPAN("unix:"))) {
        struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
        out->kind = CONF_UNIX;
        err_t e = address_unix_path(a, span_from(text, 5), dir, &out->path, why);
        if (e != ERR_OK)
            return e;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, out->path.p, out->path.n + 1);
        out->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + out->path.n + 1);
        return ERR_OK;
    }
    static const char right[] =
        "an address to listen on is numeric, with a port: 127.0.0.1:8080, 0.0.0.0:80 for all of IPv4, [::]:80 for "
        "all of IPv6, or unix:/run/brink.sock";
    int64_t number;
    if (units_count(text, &number) == ERR_OK)
        return address_bad(why, "a port alone is no address: write 0.0.0.0:PORT for all interfaces or 127.0.0.1:PORT "
                                "for this machine only");
    address_parts_t parts;
    err_t e = address_split(text, &parts, why);
    if (e != ERR_OK) {
        if (span_starts(text, SPAN("*")) || (span_starts(text, SPAN(":")) && !span_starts(text, SPAN("::"))))
            *why = right;
        return e;
    }
    if (!parts.has_port)
        return address_bad(why, right);
    out->host = arena_copy(a, parts.host);
    out->port = parts.port;
    if (parts.v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->sa;
        out->kind = CONF_TCP6;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(parts.port);
        out->sa_len = sizeof *in6;
        return address_v6_valid(parts.host, &in6->sin6_addr) ? ERR_OK : address_bad(why, right);
    }
    struct sockaddr_in *in = (struct sockaddr_in *)&out->sa;
    out->kind = CONF_TCP4;
    in->sin_family = AF_INET;
    in->sin_port = htons(parts.port);
    out->sa_len = sizeof *in;
    return address_v4_valid(parts.host, &in->sin_addr) ? ERR_OK : address_bad(why, right);
}

err_t address_origin(arena_t *a, span_t text, span_t dir, conf_origin_t *out, const char **why)
{
    *out = (conf_origin_t){.port = 0};
    if (span_starts(text, SPAN("unix:"))) {
        err_t e = address_unix_path(a, span_from(text, 5), dir, &out->unix_path, why);
        if (e != ERR_OK)
            return e;
        out->url = arena_printf(a, "unix:%.*s", SPAN_ARG(out->unix_path));
        out->host = SPAN("localhost");
        out->authority = SPAN("localhost");
        return ERR_OK;
    }
    span_t scheme_end = SPAN("://");
    size_t at = 0;
    while (at + 3 <= text.n && !span_starts(span_from(text, at), scheme_end))
        at++;
    if (at + 3 > text.n)
        return address_bad(why,
                           "a URL begins with http://, https://, h2c:// or unix:, for example http://127.0.0.1:3000");
    span_t scheme = span_upto(text, at);
    out->https = span_caseeq(scheme, SPAN("https"));
    out->h2c = span_caseeq(scheme, SPAN("h2c"));
    if (!out->https && !out->h2c && !span_caseeq(scheme, SPAN("http")))
        return address_bad(why, "the scheme of an upstream is http, https, h2c (HTTP/2 without TLS) or unix");
    span_t rest = span_from(text, at + 3);
    size_t end = 0;
    while (end < rest.n && strchr("/?#", rest.p[end]) == NULL)
        end++;
    span_t authority = span_upto(rest, end), path = span_from(rest, end);
    if (path.n > 0 && !span_eq(path, SPAN("/")))
        return address_bad(why, "an upstream's URL has no path: requests keep the path that the client asked for");
    if (span_find(authority, '@') < authority.n)
        return address_bad(why, "an upstream's URL has no user and password");
    address_parts_t parts;
    err_t e = address_split(authority, &parts, why);
    if (e != ERR_OK)
        return e;
    uint16_t standard = out->https ? 443 : 80;
    out->port = parts.has_port ? parts.port : standard;
    out->host = address_lower(a, parts.host);
    const char *open = parts.v6 ? "[" : "", *close = parts.v6 ? "]" : "";
    out->authority = out->port == standard
                         ? arena_printf(a, "%s%.*s%s", open, SPAN_ARG(out->host), close)
                         : arena_printf(a, "%s%.*s%s:%u", open, SPAN_ARG(out->host), close, (unsigned)out->port);
    out->url = arena_printf(a, "%s://%.*s", out->https ? "https" : out->h2c ? "h2c" : "http", SPAN_ARG(out->authority));
    return out->url.p != NULL ? ERR_OK : ERR_NO_MEMORY;
}

err_t address_host(arena_t *a, span_t text, span_t *out, const char **why)
{
    address_parts_t parts;
    err_t e = address_split(text, &parts, why);
    if (e != ERR_OK)
        return e;
    /* Host without the dot that a fully qualified name may end in. */
    const char *open = parts.v6 ? "[" : "", *close = parts.v6 ? "]" : "";
    span_t host = address_lower(a, parts.host);
    *out = parts.has_port ? arena_printf(a, "%s%.*s%s:%u", open, SPAN_ARG(host), close, (unsigned)parts.port)
                          : arena_printf(a, "%s%.*s%s", open, SPAN_ARG(host), close);
    return out->p != NULL ? ERR_OK : ERR_NO_MEMORY;
}

err_t address_pattern(arena_t *a, span_t text, span_t *out, const char **why)
{
    if (span_eq(text, SPAN("*"))) {
        *out = arena_copy(a, text);
        return ERR_OK;
    }
    bool wild = span_starts(text, SPAN("*."));
    span_t name = wild ? span_from(text, 2) : text;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '*')
            return address_bad(why, "a * stands alone (any host) or at the beginning before a dot (*.example.com)");
        if (name.p[i] == '/')
            return address_bad(why, "a host has no scheme and no path: write www.example.com");
        if ((unsigned char)name.p[i] >= 0x80)
            return address_bad(why, "write international names in their ASCII form (xn--…), as clients send them");
    }
    span_t host;
    err_t e = address_host(a, name, &host, why);
    if (e != ERR_OK)
        return e;
    if (wild && (name.p[0] == '[' || span_find(name, ':') < name.n))
        return address_bad(why, "a wildcard covers names without a port: *.example.com");
    *out = wild ? arena_printf(a, "*.%.*s", SPAN_ARG(host)) : host;
    return out->p != NULL ? ERR_OK : ERR_NO_MEMORY;
}
