/* One parameter is all that a member may have: what else came would have a meaning that we don't know. */
#include "edge/http/weighted.h"

bool weighted_next(span_t *rest, span_t *member)
{
    while (rest->n > 0) {
        size_t n = 0;
        for (bool quoted = false; n < rest->n && (quoted || rest->p[n] != ','); n++) {
            if (rest->p[n] == '"')
                quoted = !quoted;
            else if (quoted && rest->p[n] == '\\' && n + 1 < rest->n)
                n++;
        }
        *member = span_trim(span_upto(*rest, n));
        *rest = span_from(*rest, n + 1);
        if (member->n > 0)
            return true;
    }
    return false;
}

/* qvalue in thousandths; false when it is none. */
static bool weighted_value(span_t text, unsigned *out)
{
    static const unsigned scale[] = {100, 10, 1};
    if (text.n == 0 || text.n > 5 || (text.p[0] != '0' && text.p[0] != '1') || (text.n > 1 && text.p[1] != '.'))
        return false;
    unsigned v = text.p[0] == '1' ? WEIGHTED_ONE : 0;
    for (size_t i = 2; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        v += (unsigned)(text.p[i] - '0') * scale[i - 2];
    }
    *out = v;
    return v <= WEIGHTED_ONE;
}

bool weighted_read(span_t member, span_t *name, unsigned *weight)
{
    size_t semicolon = span_find(member, ';');
    *name = span_trim(span_upto(member, semicolon));
    *weight = WEIGHTED_ONE;
    if (semicolon == member.n)
        return true;
    span_t parameter = span_trim(span_from(member, semicolon + 1));
    size_t equals = span_find(parameter, '=');
    return equals < parameter.n && span_caseeq(span_upto(parameter, equals), SPAN("q")) &&
           weighted_value(span_from(parameter, equals + 1), weight);
}
