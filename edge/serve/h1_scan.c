/* Heads are scanned a line at a time with memchr, bodies are skipped by arithmetic: a request costs one pass over its
 * head. The state survives any split of the bytes over reads; a verdict never depends on where the splits are. */
#include "edge/serve/h1_scan.h"

#include <string.h>

enum { REQUEST_LINE_EXTRA = 64, METHOD_MAX = 32 };

static bool h1_scan_token_char(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != '\0' && memchr(others, c, sizeof others - 1) != NULL;
}

static bool h1_scan_token(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!h1_scan_token_char((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

/* Field values: visible characters, SP, HTAB and obs-text (RFC 9110 5.5). */
static bool h1_scan_value(span_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* uri-host [":" port] as Host may hold it: no userinfo, no path, nothing that needs decoding to be understood. */
static bool h1_scan_host(span_t s)
{
    static const char others[] = "-._~%!$&'()*+,;=:[]";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || memchr(others, c, sizeof others - 1) == NULL))
            return false;
    }
    return s.n > 0;
}

/* The four forms of RFC 9112 3.2, in visible ASCII and without a fragment. */
static bool h1_scan_target(const h1_scan_t *s, span_t t)
{
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return false;
    }
    if (t.n == 0)
        return false;
    if (s->is_connect)
        return h1_scan_host(t);
    if (t.p[0] == '/')
        return true;
    if (t.n == 1 && t.p[0] == '*')
        return s->is_options;
    for (size_t scheme = 7; scheme <= 8; scheme++)
        if (t.n > scheme && span_caseeq(span_upto(t, scheme), scheme == 7 ? SPAN("http://") : SPAN("https://")))
            return t.p[scheme] != '/';
    return false;
}

/* Of the absolute form, whose authority counts (RFC 9112 3.2.2). */
static span_t h1_scan_authority(span_t target)
{
    size_t at = span_find(target, ':') + 3, end = at;
    while (end < target.n && target.p[end] != '/' && target.p[end] != '?')
        end++;
    return span_from(span_upto(target, end), at);
}

static int h1_scan_request_line(h1_scan_t *s, const h1_scan_limits_t *limits, const char *head, span_t line)
{
    size_t sp = span_find(line, ' ');
    span_t method = span_upto(line, sp);
    if (sp == line.n || sp > METHOD_MAX || !h1_scan_token(method))
        return 400;
    s->is_options = span_eq(method, SPAN("OPTIONS"));
    s->is_connect = span_eq(method, SPAN("CONNECT"));
    span_t rest = span_from(line, sp + 1);
    sp = span_find(rest, ' ');
    if (sp == rest.n)
        return 400;
    span_t target = span_upto(rest, sp), version = span_from(rest, sp + 1);
    if (target.n > limits->target_bytes)
        return 414;
    if (target.n > 0 && version.n > 0 && span_find(version, ' ') == version.n &&
        !span_caseeq(span_upto(version, 5), SPAN("HTTP/")))
        return H1_SCAN_FOREIGN;
    if (version.n != 8 || !span_starts(version, SPAN("HTTP/")) || version.p[6] != '.' || version.p[5] < '0' ||
        version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return 400;
    if (version.p[5] != '1')
        return 505;
    s->minor_zero = version.p[7] == '0';
    if (!h1_scan_target(s, target))
        return 400;
    s->absolute = !s->is_connect && target.p[0] != '/' && target.p[0] != '*';
    if (s->absolute) {
        span_t authority = h1_scan_authority(target);
        s->host_at = (size_t)(authority.p - head);
        s->host_n = authority.n;
    }
    return 0;
}

static int h1_scan_length(h1_scan_t *s, const h1_scan_limits_t *limits, span_t value)
{
    if (value.n == 0 || value.n > 19 || s->lengths++ > 0)
        return 400;
    s->length = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return 400;
        s->length = s->length * 10 + (uint64_t)(value.p[i] - '0');
    }
    return s->length > limits->max_body ? 413 : 0;
}

static int h1_scan_host_field(h1_scan_t *s, const char *head, span_t value)
{
    if (s->hosts++ > 0 || !h1_scan_host(value))
        return 400;
    if (!s->absolute) {
        s->host_at = (size_t)(value.p - head);
        s->host_n = value.n;
    }
    return 0;
}

static int h1_scan_field(h1_scan_t *s, const h1_scan_limits_t *limits, const char *head, span_t line)
{
    size_t colon = span_find(line, ':');
    span_t name = span_upto(line, colon);
    if (colon == line.n || !h1_scan_token(name)) /* also whitespace before the colon and at the start of the line */
        return 400;
    span_t raw = span_from(line, colon + 1), value = span_trim(raw);
    if (!h1_scan_value(raw))
        return 400;
    if (++s->field_count > limits->header_count)
        return 431;
    switch (name.n) {
    case 4:
        if (span_caseeq(name, SPAN("host")))
            return h1_scan_host_field(s, head, value);
        break;
    case 6:
        if (span_caseeq(name, SPAN("expect")))
            s->expects = true;
        break;
    case 14:
        if (span_caseeq(name, SPAN("content-length")))
            return h1_scan_length(s, limits, value);
        break;
    case 17:
        if (span_caseeq(name, SPAN("transfer-encoding")))
            return s->codings++ == 0 && span_caseeq(value, SPAN("chunked")) ? 0 : 400;
        break;
    default:
        break;
    }
    return 0;
}

/* The empty line: how is the body framed, and may it come? RFC 9112 6.3. */
static int h1_scan_head_end(h1_scan_t *s, const h1_scan_limits_t *limits, const char *head)
{
    if (!s->minor_zero && s->hosts == 0)
        return 400;
    if (s->codings > 0 && (s->lengths > 0 || s->minor_zero))
        return 400;
    if (s->codings > 0 || s->lengths > 0) {
        uint64_t here = limits->body_limit != NULL ? limits->body_limit(limits->arg, head + s->host_at, s->host_n)
                                                   : limits->max_body;
        s->most = here < limits->max_body ? here : limits->max_body;
    }
    if (s->lengths > 0 && s->length > s->most)
        return 413;
    if (s->lengths > 0 && s->length > limits->room)
        return 503;
    if (s->codings > 0) {
        s->phase = H1_SCAN_CHUNK_SIZE;
        s->length = 0;
    } else {
        s->phase = H1_SCAN_BODY;
        if (s->lengths == 0)
            s->length = 0;
    }
    return 0;
}

/* `head`: where the head begins that the line is part of. */
static int h1_scan_line(h1_scan_t *s, const h1_scan_limits_t *limits, const char *head, span_t line)
{
    if (line.n == 0 || line.p[line.n - 1] != '\r')
        return 400;
    line.n--;
    if (s->phase == H1_SCAN_REQUEST_LINE) {
        if (line.n == 0) { /* one empty line before a request is forgiven: RFC 9112 2.2 */
            if (s->skipped_empty)
                return 400;
            s->skipped_empty = true;
            return 0;
        }
        s->phase = H1_SCAN_FIELDS;
        return h1_scan_request_line(s, limits, head, line);
    }
    return line.n > 0 ? h1_scan_field(s, limits, head, line) : h1_scan_head_end(s, limits, head);
}

static int h1_scan_hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* chunk-size [ chunk-ext ] CRLF, a byte at a time. An extension begins with ";" right after the size: whitespace there
 * is what lenient parsers disagree about. */
static int h1_scan_chunk_size(h1_scan_t *s, char c)
{
    if (++s->extra > H1_SCAN_CHUNK_EXTRA_MAX + 8 * s->body || ++s->trailer_line > H1_SCAN_CHUNK_LINE_MAX)
        return 400;
    if (s->saw_cr) {
        if (c != '\n')
            return 400;
        bool last = s->length == 0;
        if (s->body + s->length > s->most)
            return 413;
        s->digits = 0;
        s->trailer_line = 0;
        s->saw_cr = s->in_extension = false;
        s->in_name = false;
        s->phase = last ? H1_SCAN_TRAILERS : H1_SCAN_CHUNK_DATA;
        return 0;
    }
    if (c == '\r') {
        s->saw_cr = true;
        return s->digits > 0 && !s->in_quotes ? 0 : 400; /* some parsers read on to the other quote */
    }
    if (s->in_extension) {
        s->in_quotes ^= c == '"' && !s->escaped;
        s->escaped = s->in_quotes && c == '\\' && !s->escaped;
        return h1_scan_value(span_of(&c, 1)) ? 0 : 400;
    }
    int v = h1_scan_hex(c);
    if (v >= 0) {
        if (++s->digits > 15)
            return 400;
        s->length = s->length * 16 + (uint64_t)v;
        return 0;
    }
    s->in_extension = c == ';';
    return s->in_extension && s->digits > 0 ? 0 : 400;
}

/* Trailer fields are checked for their form and then dropped by the library. */
static int h1_scan_trailer(h1_scan_t *s, char c)
{
    if (++s->extra > H1_SCAN_CHUNK_EXTRA_MAX + 8 * s->body)
        return 431;
    if (s->saw_cr) {
        if (c != '\n')
            return 400;
        bool end = s->trailer_line == 0;
        s->saw_cr = false;
        s->trailer_line = 0;
        s->in_name = false;
        if (end) {
            s->phase = H1_SCAN_BODY;
            s->length = 0;
        }
        return 0;
    }
    if (c == '\r') {
        s->saw_cr = true;
        return s->trailer_line == 0 || !s->in_name ? 0 : 400;
    }
    if (s->trailer_line++ == 0) {
        s->in_name = true;
        return h1_scan_token_char((unsigned char)c) ? 0 : 400;
    }
    if (s->in_name && c == ':') {
        s->in_name = false;
        return 0;
    }
    return s->in_name ? (h1_scan_token_char((unsigned char)c) ? 0 : 400) : h1_scan_value(span_of(&c, 1)) ? 0 : 400;
}

static int h1_scan_body_byte(h1_scan_t *s, char c)
{
    switch (s->phase) {
    case H1_SCAN_CHUNK_SIZE:
        return h1_scan_chunk_size(s, c);
    case H1_SCAN_CHUNK_END:
        s->extra++;
        if (c != (s->digits == 0 ? '\r' : '\n'))
            return 400;
        if (++s->digits == 2) {
            s->digits = 0;
            s->phase = H1_SCAN_CHUNK_SIZE;
            s->length = 0;
        }
        return 0;
    default:
        return h1_scan_trailer(s, c);
    }
}

h1_scan_result_t h1_scan_feed(h1_scan_t *s, const h1_scan_limits_t *limits, const char *buf, size_t from, size_t to)
{
    h1_scan_result_t r = {0};
    size_t start = 0, at = from; /* start: where the current request begins, while its head is read */
    while (r.status == 0) {
        if (s->phase == H1_SCAN_BODY || s->phase == H1_SCAN_CHUNK_DATA) {
            uint64_t some = s->length < to - at ? s->length : to - at;
            at += some;
            s->length -= some;
            s->body += some;
            if (s->length > 0)
                break;
            if (s->phase == H1_SCAN_CHUNK_DATA) {
                s->phase = H1_SCAN_CHUNK_END;
                continue;
            }
            r.requests++;
            r.expects |= s->expects;
            *s = (h1_scan_t){0};
            start = r.refused_at = at;
        }
        if (at == to)
            break;
        if (s->phase > H1_SCAN_FIELDS) {
            r.status = h1_scan_body_byte(s, buf[at++]);
            continue;
        }
        const char *end = memchr(buf + at, '\n', to - at);
        s->size = (end != NULL ? (size_t)(end - buf) + 1 : to) - start;
        size_t most = s->phase == H1_SCAN_REQUEST_LINE ? limits->target_bytes + REQUEST_LINE_EXTRA
                                                       : limits->target_bytes + limits->header_bytes;
        if (s->size > most) {
            r.status = s->phase == H1_SCAN_REQUEST_LINE ? 414 : 431;
            break;
        }
        if (end == NULL)
            break;
        r.status =
            h1_scan_line(s, limits, buf + start, span_of(buf + start + s->line, (size_t)(end - buf) - start - s->line));
        at = (size_t)(end - buf) + 1;
        s->line = at - start;
    }
    r.expects |= s->expects;
    return r;
}

void h1_scan_words(span_t head, span_t *method, span_t *target)
{
    while (head.n > 0 && (head.p[0] == '\r' || head.p[0] == '\n'))
        head = span_from(head, 1);
    span_t line = span_upto(head, span_find(head, '\n'));
    while (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    size_t sp = span_find(line, ' '), end = line.n;
    *method = span_upto(line, sp);
    *target = line;
    if (sp == line.n || sp > METHOD_MAX || !h1_scan_token(*method)) {
        *method = SPAN_NONE;
        return;
    }
    while (line.p[end - 1] != ' ') /* there is one: it ends the method */
        end--;
    bool version = end - 1 > sp && span_caseeq(span_upto(span_from(line, end), 5), SPAN("HTTP/"));
    *target = span_from(span_upto(line, version ? end - 1 : line.n), sp + 1);
}

bool h1_scan_idle(const h1_scan_t *s)
{
    return s->phase == H1_SCAN_REQUEST_LINE && s->size == 0;
}

bool h1_scan_in_body(const h1_scan_t *s)
{
    return s->phase >= H1_SCAN_BODY;
}
