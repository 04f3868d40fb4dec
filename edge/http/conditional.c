/* Entity tags are compared as bytes once "W/" is off. A tag that an origin wrote without quotes is no tag by the
 * grammar, but origins do that and clients send it back: it is then a weak one that equals itself. */
#include "edge/http/conditional.h"

#include "edge/http/date.h"

typedef struct tag {
    span_t opaque; /* with its quotes */
    bool strong;
} tag_t;

/* Cuts the next member off a list of entity tags; false at its end. Commas within quotes belong to the tag. */
static bool take_tag(span_t *list, tag_t *out)
{
    span_t s = *list;
    while (s.n > 0 && (s.p[0] == ',' || s.p[0] == ' ' || s.p[0] == '\t'))
        s = span_from(s, 1);
    if (s.n == 0)
        return false;
    bool weak = span_starts(s, SPAN("W/"));
    if (weak)
        s = span_from(s, 2);
    size_t close = s.n > 0 && s.p[0] == '"' ? span_find(span_from(s, 1), '"') + 2 : s.n + 1;
    bool quoted = close <= s.n;
    size_t comma = span_find(quoted ? span_from(s, close) : s, ',') + (quoted ? close : 0);
    out->opaque = span_trim(span_upto(s, comma));
    out->strong = !weak && quoted && out->opaque.n == close;
    *list = span_from(s, comma);
    return true;
}

static tag_t tag_of(span_t etag)
{
    tag_t t;
    if (etag.p == NULL || !take_tag(&etag, &t))
        return (tag_t){SPAN_NONE, false};
    return t;
}

/* RFC 9110 13.1.1 and 13.1.2: "*" matches whatever there is. */
static bool any_matches(const fields_t *request, span_t name, tag_t stored, bool strong)
{
    span_t line;
    for (size_t at = 0; fields_next(request, name, &at, &line);) {
        tag_t t;
        if (span_eq(span_trim(line), SPAN("*")))
            return true;
        while (take_tag(&line, &t))
            if (stored.opaque.n > 0 && span_eq(t.opaque, stored.opaque) && (!strong || (t.strong && stored.strong)))
                return true;
    }
    return false;
}

/* The date of a field that must have one line and be one; false: the field is ignored (RFC 9110 13.1.3, 13.1.4).
 * Two-digit years are read around the stored date, which is what they are compared with. */
static bool date_of(const fields_t *request, span_t name, msec_t around, msec_t *out)
{
    return fields_count(request, name) == 1 && date_parse(fields_get(request, name), around, out) == ERR_OK;
}

conditional_t conditional_evaluate(method_t method, const fields_t *request, span_t etag, msec_t last_modified)
{
    tag_t stored = tag_of(etag);
    msec_t since;
    bool reads = method == METHOD_GET || method == METHOD_HEAD;
    if (fields_has(request, SPAN("if-match"))) {
        if (!any_matches(request, SPAN("if-match"), stored, true))
            return CONDITIONAL_FAILED;
    } else if (last_modified != -1 && date_of(request, SPAN("if-unmodified-since"), last_modified, &since) &&
               last_modified > since)
        return CONDITIONAL_FAILED;
    if (fields_has(request, SPAN("if-none-match"))) {
        if (any_matches(request, SPAN("if-none-match"), stored, false))
            return reads ? CONDITIONAL_NOT_MODIFIED : CONDITIONAL_FAILED;
    } else if (reads && last_modified != -1 && date_of(request, SPAN("if-modified-since"), last_modified, &since) &&
               last_modified <= since)
        return CONDITIONAL_NOT_MODIFIED;
    return CONDITIONAL_PROCEED;
}

bool conditional_if_range(const fields_t *request, span_t etag, msec_t last_modified, msec_t date)
{
    span_t value = fields_get(request, SPAN("if-range"));
    msec_t validator;
    if (value.p == NULL)
        return true;
    if (fields_count(request, SPAN("if-range")) > 1)
        return false;
    if (span_starts(value, SPAN("\"")) || span_starts(value, SPAN("W/"))) { /* and not "Wed, …" */
        tag_t asked = tag_of(value), stored = tag_of(etag);
        return asked.strong && stored.strong && span_eq(asked.opaque, stored.opaque);
    }
    /* A date is strong only if the representation can't have changed again within the same second: RFC 9110 8.8.2.2. */
    return last_modified != -1 && date != -1 && date - last_modified >= MSEC_PER_SEC &&
           date_parse(value, last_modified, &validator) == ERR_OK && validator == last_modified;
}
