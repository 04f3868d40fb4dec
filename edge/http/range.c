/* Whoever asks for many small or overlapping ranges asks for an amplifier (RFC 9110 17.15): overlaps are merged, their
 * number has a ceiling, and a set that covers everything in pieces is answered whole. */
#include "edge/http/range.h"

#include "edge/http/chars.h"

/* 1*DIGIT from the front; saturates. False when there is none. */
static bool take_number(span_t *s, uint64_t *out)
{
    size_t n = 0;
    uint64_t v = 0;
    bool over = false;
    for (; n < s->n && chars_is(s->p[n], CHARS_DIGIT); n++)
        over |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s->p[n] - '0'), &v);
    *out = over ? UINT64_MAX : v;
    *s = span_from(*s, n);
    return n > 0;
}

typedef enum spec { SPEC_MALFORMED, SPEC_OUTSIDE, SPEC_EMPTY, SPEC_RANGE } spec_t;

/* int-range or suffix-range: RFC 9110 14.1.1, 14.1.2. Of a list's member, so not empty. */
static spec_t parse_spec(span_t s, uint64_t length, range_t *out)
{
    uint64_t first, last;
    if (s.p[0] == '-') {
        s = span_from(s, 1);
        if (!take_number(&s, &last) || s.n > 0)
            return SPEC_MALFORMED;
        if (last == 0)
            return SPEC_OUTSIDE;
        if (length == 0)
            return SPEC_EMPTY;
        *out = (range_t){last < length ? length - last : 0, length - 1};
        return SPEC_RANGE;
    }
    if (!take_number(&s, &first) || s.n == 0 || s.p[0] != '-')
        return SPEC_MALFORMED;
    s = span_from(s, 1);
    bool open = s.n == 0;
    if (!open && (!take_number(&s, &last) || s.n > 0 || last < first))
        return SPEC_MALFORMED;
    if (first >= length)
        return SPEC_OUTSIDE;
    *out = (range_t){first, open || last >= length ? length - 1 : last};
    return SPEC_RANGE;
}

/* Merges overlapping ranges into the earlier one until none overlap. */
static size_t coalesce(range_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (v[i].first <= v[j].last && v[j].first <= v[i].last) {
                v[i].first = v[j].first < v[i].first ? v[j].first : v[i].first;
                v[i].last = v[j].last > v[i].last ? v[j].last : v[i].last;
                memmove(&v[j], &v[j + 1], (--n - j) * sizeof *v);
                i = (size_t)-1; /* the grown one may overlap any: begin again, at most n times */
                break;
            }
    return n;
}

range_verdict_t range_parse(span_t value, uint64_t length, range_t out[RANGE_MAX], size_t *n)
{
    size_t equals = span_find(value, '='), specs = 0;
    uint64_t bytes = 0;
    bool empty = false;
    *n = 0;
    if (equals == value.n || !span_caseeq(span_upto(value, equals), SPAN("bytes")))
        return RANGE_IGNORE;
    for (span_t set = span_from(value, equals + 1); set.n > 0;) {
        size_t comma = span_find(set, ',');
        span_t spec = span_trim(span_upto(set, comma));
        set = span_from(set, comma + 1);
        if (spec.n == 0)
            continue;
        if (++specs > RANGE_MAX)
            return *n = 0, RANGE_IGNORE;
        switch (parse_spec(spec, length, &out[*n])) {
        case SPEC_MALFORMED:
            return *n = 0, RANGE_IGNORE;
        case SPEC_OUTSIDE:
            break;
        case SPEC_EMPTY:
            empty = true;
            break;
        case SPEC_RANGE:
            ++*n;
            break;
        }
    }
    if (specs == 0 || empty) /* a suffix of nothing can be met, but not be written as a Content-Range */
        return RANGE_IGNORE;
    if (*n == 0)
        return RANGE_UNSATISFIABLE;
    *n = coalesce(out, *n);
    for (size_t i = 0; i < *n; i++)
        bytes += out[i].last - out[i].first + 1;
    if (specs > 1 && bytes == length)
        return *n = 0, RANGE_IGNORE;
    return RANGE_PARTIAL;
}

err_t range_parse_content_range(span_t value, range_t *out, int64_t *length)
{
    size_t space = span_find(value, ' ');
    uint64_t first, last, total = 0;
    if (space == value.n || !span_caseeq(span_upto(value, space), SPAN("bytes")))
        return ERR_SYNTAX;
    span_t s = span_from(value, space + 1);
    bool unsatisfied = span_starts(s, SPAN("*/"));
    if (unsatisfied)
        s = span_from(s, 1);
    else if (!take_number(&s, &first) || s.n == 0 || s.p[0] != '-')
        return ERR_SYNTAX;
    else {
        s = span_from(s, 1);
        if (!take_number(&s, &last) || last < first || last > INT64_MAX - 1)
            return ERR_SYNTAX;
    }
    if (s.n == 0 || s.p[0] != '/')
        return ERR_SYNTAX;
    s = span_from(s, 1);
    bool unknown = span_eq(s, SPAN("*"));
    if (!unknown && (!take_number(&s, &total) || s.n > 0 || total > INT64_MAX))
        return ERR_SYNTAX;
    if (unsatisfied) {
        if (unknown)
            return ERR_SYNTAX;
        *length = (int64_t)total;
        return ERR_RANGE;
    }
    if (!unknown && last >= total)
        return ERR_SYNTAX;
    *out = (range_t){first, last};
    *length = unknown ? -1 : (int64_t)total;
    return ERR_OK;
}
