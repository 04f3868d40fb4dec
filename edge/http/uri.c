/* Two spellings of one URI must give one key, and two URIs must never: so only equivalences of RFC 3986 6.2.2 are
 * applied (case of hex digits and host, encoding of unreserved characters, dot segments), none that only some servers
 * know. "%2F" stays, "//" stays,
 * '+' stays. What no URI may contain but browsers and people send anyway is encoded, as RFC 3986 2.1 would have had it.
 */
#include "edge/http/uri.h"

#include <arpa/inet.h>

#include "edge/http/chars.h"

/* ---- splitting ---- */

static void split_query(span_t rest, uri_t *out)
{
    size_t mark = span_find(rest, '?');
    out->path = span_upto(rest, mark);
    out->query = mark < rest.n ? span_from(rest, mark + 1) : SPAN_NONE;
}

err_t uri_split_target(span_t target, uri_t *out)
{
    if (target.n == 0 || target.p[0] != '/' || span_find(target, '#') < target.n)
        return ERR_SYNTAX;
    *out = (uri_t){.scheme = SPAN_NONE};
    split_query(target, out);
    return ERR_OK;
}

err_t uri_split(span_t url, uri_t *out)
{
    size_t colon = span_find(url, ':'), end = 0;
    span_t scheme = span_upto(url, colon), rest = span_from(url, colon);
    if ((!span_caseeq(scheme, SPAN("http")) && !span_caseeq(scheme, SPAN("https"))) ||
        !span_starts(rest, SPAN("://")) || span_find(rest, '#') < rest.n)
        return ERR_SYNTAX;
    rest = span_from(rest, 3);
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    if (end == 0 || span_find(span_upto(rest, end), '@') < end)
        return ERR_SYNTAX;
    *out = (uri_t){.scheme = scheme, .authority = span_upto(rest, end)};
    split_query(span_from(rest, end), out);
    return ERR_OK;
}

/* ---- percent-encoding ---- */

err_t uri_normalise_percent(span_t s, char *out, size_t cap, size_t *n)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t to = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool encode = false;
        if (c == '%') {
            int hi = s.n - i > 2 ? chars_hex(s.p[i + 1]) : -1, lo = s.n - i > 2 ? chars_hex(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return ERR_SYNTAX;
            c = (unsigned char)(hi * 16 + lo);
            i += 2;
            encode = !chars_is((char)c, CHARS_UNRESERVED);
        } else if (!chars_is((char)c, CHARS_URI)) {
            if (c <= ' ' || c == 0x7f || c == '#')
                return ERR_SYNTAX;
            encode = true;
        }
        if (cap - to < (encode ? 3u : 1u))
            return ERR_TOO_BIG;
        if (encode) {
            out[to++] = '%';
            out[to++] = hex[c >> 4];
            out[to++] = hex[c & 15];
        } else
            out[to++] = (char)c;
    }
    *n = to;
    return ERR_OK;
}

/* ---- path ---- */

size_t uri_remove_dot_segments(char *path, size_t n)
{
    size_t to = 0; /* path[0 … to) is done: whole segments, each with the '/' before it */
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && path[end] != '/')
            end++;
        span_t segment = span_of(path + i, end - i);
        bool dot = span_eq(segment, SPAN("/.")), up = span_eq(segment, SPAN("/.."));
        if (up)
            while (to > 0 && path[--to] != '/')
                ;
        if (!dot && !up) {
            memmove(path + to, path + i, end - i);
            to += end - i;
        } else if (end == n)
            path[to++] = '/'; /* "/a/.." is the folder that holds a */
        i = end;
    }
    return to; /* the last segment left something, at least a '/' */
}

/* Length of the separator at the front of `s`, which isn't empty: a slash, a backslash, or one of them encoded. */
static size_t separator(span_t s)
{
    if (s.p[0] == '/' || s.p[0] == '\\')
        return 1;
    return span_starts(s, SPAN("%2F")) || span_starts(s, SPAN("%5C")) ? 3 : 0;
}

/* Where a path parameter begins: some servers take it off before they look for dot segments ("/..;/"). */
static bool parameter(span_t s)
{
    return s.n > 0 && (s.p[0] == ';' || span_starts(s, SPAN("%3B")));
}

bool uri_hides_dots(span_t path)
{
    size_t dots = 0;     /* bytes of this segment … */
    bool between = true; /* … and they are dots alone */
    for (size_t i = 0; i <= path.n;) {
        size_t n = i < path.n ? separator(span_from(path, i)) : 1;
        if (n > 0) {
            if (between && (dots == 1 || dots == 2))
                return true;
            dots = 0;
            between = true;
            i += n;
        } else {
            if (between && (dots == 1 || dots == 2) && parameter(span_from(path, i)))
                return true;
            between = between && path.p[i] == '.';
            dots++;
            i++;
        }
    }
    return false;
}

err_t uri_normalise_path(span_t path, char *out, size_t cap, size_t *n)
{
    if (path.n == 0)
        path = SPAN("/");
    if (path.p[0] != '/')
        return ERR_SYNTAX;
    err_t e = uri_normalise_percent(path, out, cap, n);
    if (e == ERR_OK)
        *n = uri_remove_dot_segments(out, *n);
    return e;
}

/* ---- host ---- */

static int default_port(span_t scheme)
{
    return span_caseeq(scheme, SPAN("http")) ? 80 : span_caseeq(scheme, SPAN("https")) ? 443 : -1;
}

/* ":8080" or "" or ":" (then -1). */
static err_t parse_port(span_t s, int *port)
{
    *port = -1;
    if (s.n == 0)
        return ERR_OK;
    if (s.p[0] != ':')
        return ERR_SYNTAX;
    for (size_t i = 1; i < s.n; i++) {
        if (!chars_is(s.p[i], CHARS_DIGIT))
            return ERR_SYNTAX;
        *port = (*port < 0 ? 0 : *port) * 10 + (s.p[i] - '0');
        if (*port > 65535)
            return ERR_SYNTAX;
    }
    return ERR_OK;
}

static err_t put_name(span_t name, char *out, size_t cap, size_t *n)
{
    size_t label = 0;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n > URI_MAX_HOST || name.n > cap)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < name.n; i++) {
        if (!chars_is(name.p[i], CHARS_HOST))
            return ERR_SYNTAX;
        label = name.p[i] == '.' ? 0 : label + 1;
        if (label > 63 || (label == 0 && (i == 0 || i + 1 == name.n || name.p[i - 1] == '.')))
            return ERR_SYNTAX;
        out[i] = span_lower(name.p[i]);
    }
    *n = name.n;
    return name.n > 0 ? ERR_OK : ERR_SYNTAX;
}

/* `name` with its brackets. */
static err_t put_ipv6(span_t name, char *out, size_t cap, size_t *n)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (name.n - 2 >= sizeof text)
        return ERR_SYNTAX;
    memcpy(text, name.p + 1, name.n - 2);
    text[name.n - 2] = '\0';
    if (strlen(text) != name.n - 2 || inet_pton(AF_INET6, text, &address) != 1 ||
        inet_ntop(AF_INET6, &address, text, sizeof text) == NULL)
        return ERR_SYNTAX;
    size_t len = strlen(text);
    if (cap < len + 2)
        return ERR_TOO_BIG;
    out[0] = '[';
    memcpy(out + 1, text, len);
    out[len + 1] = ']';
    *n = len + 2;
    return ERR_OK;
}

/* Where the name ends and the port begins. */
static size_t name_end(span_t host)
{
    if (host.n > 0 && host.p[0] == '[') {
        size_t close = span_find(host, ']');
        return close < host.n ? close + 1 : host.n;
    }
    return span_find(host, ':');
}

err_t uri_normalise_host(span_t host, span_t scheme, char *out, size_t cap, size_t *n)
{
    size_t end = name_end(host);
    span_t name = span_upto(host, end);
    int port;
    bool literal = name.n > 0 && name.p[0] == '[';
    if (literal && (name.n < 4 || name.p[name.n - 1] != ']'))
        return ERR_SYNTAX;
    err_t e = parse_port(span_from(host, end), &port);
    if (e == ERR_OK)
        e = literal ? put_ipv6(name, out, cap, n) : put_name(name, out, cap, n);
    if (e != ERR_OK || port < 0 || port == default_port(scheme))
        return e;
    char digits[6];
    size_t d = sizeof digits;
    for (int left = port; d == sizeof digits || left > 0; left /= 10)
        digits[--d] = (char)('0' + left % 10);
    digits[--d] = ':';
    if (cap - *n < sizeof digits - d)
        return ERR_TOO_BIG;
    memcpy(out + *n, digits + d, sizeof digits - d);
    *n += sizeof digits - d;
    return ERR_OK;
}

span_t uri_host_name(span_t host, int *port)
{
    size_t end = name_end(host);
    if (parse_port(span_from(host, end), port) != ERR_OK)
        *port = -1;
    return span_upto(host, end);
}
