/* Two parsers that read one head differently are how responses get smuggled and caches poisoned, so anything that could
 * be read in two ways ends the response: bare CR or LF, folded lines, white space before the colon, bytes that no field
 * may have, Content-Length that is not one plain number (a list of equal ones included: RFC 9112 6.3 lets us refuse),
 * Content-Length beside Transfer-Encoding, a Transfer-Encoding of any coding but "chunked", or from HTTP/1.0. */
#include "edge/fetch/head.h"

#include "edge/http/upgrade.h"

enum {
    HEAD_DIGITS_MAX = 18,
    HEAD_FIELDS_MOST = FIELDS_MAX_COUNT - 16 /* leaves room for what brink adds to a response */
};

void head_init(head_t *h)
{
    *h = (head_t){.content_length = -1};
    arena_init(&h->arena, FIELDS_MAX_BYTES * 4);
    fields_init(&h->fields, &h->arena);
}

void head_release(head_t *h)
{
    arena_release(&h->arena);
}

static head_verdict_t head_code(head_t *h, span_t digits)
{
    int status = 0;
    if (digits.n != 3)
        return HEAD_BAD;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return HEAD_BAD;
        status = status * 10 + (digits.p[i] - '0');
    }
    if (status < 100 || status > 599)
        return HEAD_BAD;
    h->status = status;
    return HEAD_MORE;
}

static head_verdict_t head_status(head_t *h, span_t line)
{
    bool may_upgrade = h->may_upgrade;
    head_release(h);
    head_init(h);
    h->may_upgrade = may_upgrade;
    if (line.n < 12 || !span_starts(line, SPAN("HTTP/1.")) || (line.p[7] != '0' && line.p[7] != '1') ||
        line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' '))
        return HEAD_BAD;
    h->minor = line.p[7] - '0';
    return head_code(h, span_of(line.p + 9, 3));
}

static bool head_length(head_t *h, span_t value)
{
    int64_t n = 0;
    if (value.n == 0 || value.n > HEAD_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return false;
        n = n * 10 + (value.p[i] - '0');
    }
    if (h->content_length >= 0)
        return false;
    h->content_length = n;
    return true;
}

/* A word that names no coding, "identity" or one of somebody's own: there is nothing to undo, and the body ends with
 * the connection (RFC 9112 6.3). A coding that exists would have to be undone, and a list may end in chunked. */
static bool head_means_nothing(span_t value)
{
    static const span_t codings[] = {SPAN("chunked"),  SPAN("gzip"),       SPAN("x-gzip"), SPAN("deflate"),
                                     SPAN("compress"), SPAN("x-compress"), SPAN("br"),     SPAN("zstd")};
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
        if (span_caseeq(value, codings[i]))
            return false;
    return fields_name_valid(value);
}

/* RFC 9110 7.8 and 15.2.2: says what it has changed to, once, in HTTP/1.1, and has no content. */
static head_verdict_t head_switch(head_t *h)
{
    h->upgrade = fields_get(&h->fields, SPAN("upgrade"));
    if (!h->may_upgrade || h->minor == 0 || h->chunked || h->unknown_coding || h->content_length >= 0 ||
        !upgrade_asked(&h->fields) || fields_count(&h->fields, SPAN("upgrade")) != 1)
        return HEAD_BAD;
    fields_remove_hop_by_hop(&h->fields);
    return HEAD_FINAL;
}

static head_verdict_t head_end(head_t *h)
{
    if (h->status == 101)
        return head_switch(h);
    if ((h->chunked || h->unknown_coding) && (h->content_length >= 0 || h->minor == 0))
        return HEAD_BAD;
    fields_remove_hop_by_hop(&h->fields);
    h->ended = h->status < 200;
    return h->ended ? HEAD_INFORMATIONAL : HEAD_FINAL;
}

/* A field, in whatever case. */
static head_verdict_t head_take(head_t *h, span_t name, span_t value)
{
    if (!fields_name_valid(name) || !fields_value_valid(value))
        return HEAD_BAD;
    name = arena_copy(&h->arena, name);
    value = arena_copy(&h->arena, value);
    if (name.p == NULL || value.p == NULL)
        return HEAD_OVER;
    for (size_t i = 0; i < name.n; i++)
        ((char *)name.p)[i] = span_lower(name.p[i]); /* our own copy */
    if (span_eq(name, SPAN("content-length")))
        return head_length(h, value) ? HEAD_MORE : HEAD_BAD;
    if (span_eq(name, SPAN("transfer-encoding"))) {
        if (h->chunked || h->unknown_coding)
            return HEAD_BAD;
        h->chunked = span_caseeq(value, SPAN("chunked"));
        h->unknown_coding = !h->chunked;
        return h->chunked || head_means_nothing(value) ? HEAD_MORE : HEAD_BAD;
    }
    if (h->fields.n >= HEAD_FIELDS_MOST || fields_add(&h->fields, name, value) != ERR_OK)
        return HEAD_OVER;
    return HEAD_MORE;
}

head_verdict_t head_line(head_t *h, span_t line)
{
    if (line.n < 2 || line.p[line.n - 1] != '\n' || line.p[line.n - 2] != '\r')
        return HEAD_BAD;
    line.n -= 2;
    h->bytes += line.n;
    if (h->bytes > FIELDS_MAX_BYTES)
        return HEAD_OVER;
    if (memchr(line.p, '\r', line.n) != NULL || memchr(line.p, '\0', line.n) != NULL)
        return HEAD_BAD;
    if (h->status == 0 || h->ended)
        return head_status(h, line);
    if (line.n == 0)
        return head_end(h);
    size_t colon = span_find(line, ':');
    if (colon == line.n)
        return HEAD_BAD;
    span_t name = span_upto(line, colon), value = span_trim(span_from(line, colon + 1));
    return head_take(h, name, value);
}

static bool head_of_a_connection(span_t name)
{
    static const span_t names[] = {SPAN("connection"), SPAN("keep-alive"), SPAN("proxy-connection"),
                                   SPAN("transfer-encoding"), SPAN("upgrade")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, names[i]))
            return true;
    return false;
}

head_verdict_t head_begin(head_t *h, span_t status)
{
    head_release(h);
    head_init(h);
    h->minor = 1;
    return head_code(h, status);
}

head_verdict_t head_field(head_t *h, span_t name, span_t value)
{
    h->bytes += name.n + value.n + 2;
    if (h->bytes > FIELDS_MAX_BYTES)
        return HEAD_OVER;
    for (size_t i = 0; i < name.n; i++)
        if (span_lower(name.p[i]) != name.p[i])
            return HEAD_BAD;
    if (h->status == 0 || h->ended || head_of_a_connection(name) || value.n != span_trim(value).n)
        return HEAD_BAD;
    return head_take(h, name, value);
}

head_verdict_t head_finish(head_t *h)
{
    return h->status == 0 ? HEAD_BAD : head_end(h);
}
