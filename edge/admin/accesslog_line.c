/* A record as a line. Pure, and bounded: the worst a byte can become is six ("\u001f"), so the ceilings of the fields
 * bound the line. */
#include <stdio.h>
#include <time.h>

#include "edge/admin/accesslog.h"
#include "edge/base/check.h"
#include "edge/base/utf8.h"
#include "edge/tbl/metrics.h"

#define X(name, most) +(most)
_Static_assert(6 * (0 ACCESSLOG_TEXTS(X)) + 1024 <= ACCESSLOG_LINE_MAX, "a longest line fits");
#undef X

static const char hex[] = "0123456789abcdef";

static char *accesslog_put(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static char *accesslog_put_number(char *to, int64_t v)
{
    char digits[24];
    size_t n = 0;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do
        digits[n++] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0)
        *to++ = '-';
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

static char *accesslog_put_json(char *to, span_t s)
{
    *to++ = '"';
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x7f) {
            if (c == '"' || c == '\\')
                *to++ = '\\';
            *to++ = (char)c;
            i++;
            continue;
        }
        size_t n = utf8_length(s.p + i, s.n - i);
        if (n == 0) {
            to = accesslog_put(to, "\xef\xbf\xbd"); /* U+FFFD */
            i++;
        } else if (n == 1) { /* a control character, or DEL: some viewers act on it */
            to = accesslog_put(to, "\\u00");
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
            i++;
        } else {
            memcpy(to, s.p + i, n);
            to += n;
            i += n;
        }
    }
    *to++ = '"';
    return to;
}

static char *accesslog_put_apache(char *to, span_t s)
{
    static const char letters[] = "\bb\nn\rr\tt\vv";
    if (s.p == NULL)
        return accesslog_put(to, "-");
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x7f) {
            if (c == '"' || c == '\\')
                *to++ = '\\';
            *to++ = (char)c;
            continue;
        }
        *to++ = '\\';
        size_t k = 0;
        while (letters[k] != '\0' && letters[k] != (char)c)
            k += 2;
        if (c != '\0' && letters[k] != '\0') {
            *to++ = letters[k + 1];
        } else {
            *to++ = 'x';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    return to;
}

static char *accesslog_put_time(char *to, msec_t wall, const char *format)
{
    time_t t = (time_t)(wall / 1000);
    struct tm tm;
    CHECK(gmtime_r(&t, &tm) != NULL);
    return to + strftime(to, 64, format, &tm);
}

static size_t accesslog_json(const accesslog_record_t *r, char *buf)
{
    char *to = accesslog_put(buf, "{\"time\":\"");
    to = accesslog_put_time(to, r->time, "%Y-%m-%dT%H:%M:%S.");
    unsigned ms = (unsigned)(r->time % 1000);
    *to++ = (char)('0' + ms / 100);
    *to++ = (char)('0' + ms / 10 % 10);
    *to++ = (char)('0' + ms % 10);
    to = accesslog_put(to, "Z\",\"status\":");
    to = accesslog_put_number(to, r->status);
    to = accesslog_put(to, ",\"bytes\":");
    to = accesslog_put_number(to, (int64_t)r->bytes);
    to = accesslog_put(to, ",\"duration_us\":");
    to = accesslog_put_number(to, r->duration_us);
    if (r->upstream_us >= 0) {
        to = accesslog_put(to, ",\"upstream_us\":");
        to = accesslog_put_number(to, r->upstream_us);
    }
    to = accesslog_put(to, r->protocol == 20   ? ",\"protocol\":\"HTTP/2\""
                           : r->protocol == 10 ? ",\"protocol\":\"HTTP/1.0\""
                                               : ",\"protocol\":\"HTTP/1.1\"");
#define X(name, most)                                                                                                  \
    if (r->name.p != NULL)                                                                                             \
        to = accesslog_put_json(accesslog_put(to, ",\"" #name "\":"), span_upto(r->name, most));
    ACCESSLOG_TEXTS(X)
#undef X
    to = accesslog_put(to, "}\n");
    return (size_t)(to - buf);
}

/* %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" */
static size_t accesslog_combined(const accesslog_record_t *r, char *buf)
{
    char *to = accesslog_put_apache(buf, r->client);
    to = accesslog_put(to, " - - ");
    to = accesslog_put_time(to, r->time, "[%d/%b/%Y:%H:%M:%S +0000] \"");
    to = accesslog_put_apache(to, r->method);
    *to++ = ' ';
    to = accesslog_put_apache(to, r->target);
    to = accesslog_put(to, r->protocol == 20 ? " HTTP/2.0\" " : r->protocol == 10 ? " HTTP/1.0\" " : " HTTP/1.1\" ");
    if (r->status > 0)
        to = accesslog_put_number(to, r->status);
    else
        *to++ = '-';
    *to++ = ' ';
    if (r->bytes > 0)
        to = accesslog_put_number(to, (int64_t)r->bytes);
    else
        *to++ = '-';
    to = accesslog_put(to, " \"");
    to = accesslog_put_apache(to, r->referer);
    to = accesslog_put(to, "\" \"");
    to = accesslog_put_apache(to, r->user_agent);
    to = accesslog_put(to, "\"\n");
    return (size_t)(to - buf);
}

size_t accesslog_line(accesslog_format_t format, const accesslog_record_t *r, char *buf)
{
    accesslog_record_t cut = *r;
#define X(name, most) cut.name = span_upto(r->name, most);
    ACCESSLOG_TEXTS(X)
#undef X
    if (cut.time < 0)
        cut.time = 0;
    size_t n = format == ACCESSLOG_JSON ? accesslog_json(&cut, buf) : accesslog_combined(&cut, buf);
    CHECK(n <= ACCESSLOG_LINE_MAX);
    return n;
}

span_t accesslog_cache_word(unsigned result)
{
    static const span_t words[] = {
        [LABEL_RESULT_HIT] = {"HIT", 3},       [LABEL_RESULT_MISS] = {"MISS", 4},
        [LABEL_RESULT_STALE] = {"STALE", 5},   [LABEL_RESULT_REVALIDATED] = {"REVALIDATED", 11},
        [LABEL_RESULT_BYPASS] = {"BYPASS", 6}, [LABEL_RESULT_ERROR] = {"ERROR", 5},
    };
    return result < sizeof words / sizeof *words ? words[result] : SPAN_NONE;
}

bool accesslog_is_cache_word(span_t text)
{
    span_t word;
    for (unsigned i = 0; (word = accesslog_cache_word(i)).p != NULL; i++)
        if (span_caseeq(word, text))
            return true;
    return false;
}

bool accesslog_statuses(span_t text, int *from, int *to)
{
    *from = *to = 0;
    if (span_eq(text, SPAN("0")))
        return true;
    if (text.n != 3 || text.p[0] < '1' || text.p[0] > '5')
        return false;
    *from = (text.p[0] - '0') * 100;
    *to = *from + 99;
    if (span_caseeq(span_from(text, 1), SPAN("xx")))
        return true;
    for (size_t i = 1; i < 3; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    *from += (text.p[1] - '0') * 10 + text.p[2] - '0';
    *to = *from;
    return true;
}
