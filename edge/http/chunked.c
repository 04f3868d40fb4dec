/* A byte at a time through lines, chunks in one step. */
#include "edge/http/chunked.h"

#include "edge/http/chars.h"

enum {
    CHUNKED_SIZE,
    CHUNKED_EXTENSION,
    CHUNKED_SIZE_LF,
    CHUNKED_CONTENT,
    CHUNKED_CR,
    CHUNKED_LF,
    CHUNKED_TRAILER, /* at the beginning of a line */
    CHUNKED_TRAILER_NAME,
    CHUNKED_TRAILER_VALUE,
    CHUNKED_TRAILER_LF,
    CHUNKED_LAST_LF,
    CHUNKED_OVER
};

static int chunked_hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool chunked_value(char c)
{
    return chars_all(span_of(&c, 1), CHARS_VALUE);
}

static bool chunked_token(char c)
{
    return chars_all(span_of(&c, 1), CHARS_TOKEN);
}

static bool chunked_size(chunked_t *c, char b)
{
    int v = chunked_hex(b);
    if (v >= 0) {
        c->left = c->left * 16 + (uint64_t)v;
        return ++c->digits <= 15;
    }
    if (c->digits == 0)
        return false;
    c->state = b == '\r' ? CHUNKED_SIZE_LF : CHUNKED_EXTENSION;
    return b == '\r' || b == ';';
}

/* One byte of everything that isn't content; false: it is no chunked body. */
static bool chunked_byte(chunked_t *c, char b)
{
    switch (c->state) {
    case CHUNKED_SIZE:
        return chunked_size(c, b);
    case CHUNKED_EXTENSION:
        if (b == '\r')
            c->state = CHUNKED_SIZE_LF;
        return b == '\r' || (chunked_value(b) && ++c->line <= CHUNKED_LINE_MAX);
    case CHUNKED_SIZE_LF:
        c->state = c->left > 0 ? CHUNKED_CONTENT : CHUNKED_TRAILER;
        c->digits = c->line = 0;
        return b == '\n';
    case CHUNKED_CR:
        c->state = CHUNKED_LF;
        return b == '\r';
    case CHUNKED_LF:
        c->state = CHUNKED_SIZE;
        return b == '\n';
    case CHUNKED_TRAILER:
        c->line = 0;
        c->state = b == '\r' ? CHUNKED_LAST_LF : CHUNKED_TRAILER_NAME;
        return b == '\r' || chunked_token(b);
    case CHUNKED_TRAILER_NAME:
        if (b == ':')
            c->state = CHUNKED_TRAILER_VALUE;
        return b == ':' || (chunked_token(b) && ++c->line <= CHUNKED_LINE_MAX);
    case CHUNKED_TRAILER_VALUE:
        if (b == '\r')
            c->state = CHUNKED_TRAILER_LF;
        return b == '\r' || (chunked_value(b) && ++c->line <= CHUNKED_LINE_MAX && ++c->extra <= CHUNKED_EXTRA_MAX);
    case CHUNKED_TRAILER_LF:
        c->state = CHUNKED_TRAILER;
        return b == '\n' && ++c->extra <= CHUNKED_EXTRA_MAX;
    case CHUNKED_LAST_LF:
        c->state = CHUNKED_OVER;
        return b == '\n';
    default:
        return false;
    }
}

chunked_verdict_t chunked_next(chunked_t *c, span_t *in, span_t *data)
{
    while (in->n > 0) {
        if (c->state == CHUNKED_CONTENT) {
            size_t n = in->n < c->left ? in->n : (size_t)c->left;
            *data = span_upto(*in, n);
            *in = span_from(*in, n);
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNKED_CR;
            return CHUNKED_DATA;
        }
        if (!chunked_byte(c, in->p[0]))
            return CHUNKED_BAD;
        *in = span_from(*in, 1);
        if (c->state == CHUNKED_OVER)
            return CHUNKED_END;
    }
    return CHUNKED_MORE;
}
