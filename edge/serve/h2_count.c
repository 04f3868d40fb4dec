/* RFC 7541 6, and of 5 only where a string ends. */
#include "edge/serve/h2_count.h"

enum { COUNT_REPRESENTATION, COUNT_INDEX, COUNT_LENGTH, COUNT_LENGTH_MORE, COUNT_STRING };
enum { COUNT_MORE = 0x80, COUNT_LENGTH_MASK = 0x7f, COUNT_SHIFT_MOST = 28 };

/* Behind the index of a literal comes its name, unless that is what the index was for; then its value. */
static void h2_count_literal(h2_count_t *c)
{
    c->in_name = !c->named;
    c->step = COUNT_LENGTH;
}

static void h2_count_string_end(h2_count_t *c)
{
    c->step = c->in_name ? COUNT_LENGTH : COUNT_REPRESENTATION;
    c->in_name = false;
}

static void h2_count_representation(h2_count_t *c, uint8_t b)
{
    uint8_t mask = b & 0x80 ? 0x7f : b & 0x40 ? 0x3f : b & 0x20 ? 0x1f : 0x0f;
    bool literal = (b & 0x80) == 0 && ((b & 0x40) != 0 || (b & 0x20) == 0);
    c->fields++;
    c->named = (b & mask) != 0;
    c->in_name = false;
    if ((b & mask) == mask) {
        c->step = COUNT_INDEX;
        c->shift = literal;
    } else if (literal) {
        h2_count_literal(c);
    }
}

static void h2_count_string(h2_count_t *c, uint64_t n)
{
    c->skip = n;
    c->step = COUNT_STRING;
    if (n == 0)
        h2_count_string_end(c);
}

static void h2_count_byte(h2_count_t *c, uint8_t b)
{
    switch (c->step) {
    case COUNT_REPRESENTATION:
        h2_count_representation(c, b);
        break;
    case COUNT_INDEX: /* shift: it is a literal's */
        if ((b & COUNT_MORE) == 0) {
            if (c->shift != 0)
                h2_count_literal(c);
            else
                c->step = COUNT_REPRESENTATION;
        }
        break;
    case COUNT_LENGTH:
        c->shift = 0;
        c->skip = COUNT_LENGTH_MASK;
        if ((b & COUNT_LENGTH_MASK) == COUNT_LENGTH_MASK)
            c->step = COUNT_LENGTH_MORE;
        else
            h2_count_string(c, b & COUNT_LENGTH_MASK);
        break;
    default:
        if (c->shift <= COUNT_SHIFT_MOST)
            c->skip += (uint64_t)(b & COUNT_LENGTH_MASK) << c->shift;
        c->shift += 7;
        if ((b & COUNT_MORE) == 0 || c->shift > COUNT_SHIFT_MOST + 7)
            h2_count_string(c, c->skip);
        break;
    }
}

void h2_count_feed(h2_count_t *c, span_t bytes)
{
    for (size_t at = 0; at < bytes.n;) {
        if (c->step != COUNT_STRING) {
            h2_count_byte(c, (uint8_t)bytes.p[at++]);
            continue;
        }
        size_t some = c->skip < bytes.n - at ? (size_t)c->skip : bytes.n - at;
        at += some;
        c->skip -= some;
        if (c->skip == 0)
            h2_count_string_end(c);
    }
}
