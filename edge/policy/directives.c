/* The caching directives in force for a response. A targeted field stands in for Cache-Control and Expires as a whole
 * (RFC 9213 2.2): the first of the list that is valid and not empty, in the order brink, CDN, and Surrogate-Control,
 * which came before the standard and whose word is taken only where it says something about storing or freshness. */
#include "edge/policy/policy_priv.h"

#include "edge/http/date.h"

enum { DIRECTIVES_ORDINARY = 4096 }; /* bytes of names and values in a request that nobody would call large */

static bool surrogate_speaks(const cache_control_t *cc)
{
    const uint32_t words =
        CACHE_CONTROL_NO_STORE | CACHE_CONTROL_NO_CACHE | CACHE_CONTROL_PRIVATE | CACHE_CONTROL_MUST_REVALIDATE;
    return (cc->flags & words) != 0 || cc->max_age != CACHE_CONTROL_ABSENT || cc->s_maxage != CACHE_CONTROL_ABSENT;
}

static bool any_present(const span_t *names, size_t n, const fields_t *response)
{
    for (size_t i = 0; i < response->n; i++)
        if (cache_control_lists(names, n, response->v[i].name))
            return true;
    return false;
}

static void read_expires(directives_t *d, const fields_t *response)
{
    span_t value;
    for (size_t i = 0; fields_next(response, SPAN("expires"), &i, &value);) {
        msec_t when;
        d->expires = true;
        if (date_parse(value, 0, &when) != ERR_OK && !span_eq(value, SPAN("0")) && !span_eq(value, SPAN("-1")))
            d->expires_malformed = true;
    }
}

static bool read_targeted(directives_t *d, const fields_t *response, span_t name, directives_source_t source,
                          arena_t *scratch)
{
    d->source = source;
    return cache_control_parse_targeted(&d->cc, response, name, scratch) == CACHE_CONTROL_TARGETED_VALID;
}

static bool read_surrogate(directives_t *d, const fields_t *response)
{
    d->source = DIRECTIVES_SURROGATE;
    return cache_control_parse(&d->cc, response, SPAN("surrogate-control")) && surrogate_speaks(&d->cc);
}

void directives_read(directives_t *d, const fields_t *response, arena_t *scratch)
{
    *d = (directives_t){0};
    if (!read_targeted(d, response, SPAN("brink-cdn-cache-control"), DIRECTIVES_BRINK, scratch) &&
        !read_targeted(d, response, SPAN("cdn-cache-control"), DIRECTIVES_CDN, scratch) &&
        !read_surrogate(d, response)) {
        d->source = DIRECTIVES_CACHE_CONTROL;
        cache_control_parse(&d->cc, response, SPAN("cache-control"));
        read_expires(d, response);
    }
    const cache_control_t *cc = &d->cc;
    d->no_cache =
        (cc->flags & CACHE_CONTROL_NO_CACHE) != 0 || any_present(cc->no_cache_names, cc->no_cache_names_n, response);
    d->private =
        (cc->flags & CACHE_CONTROL_PRIVATE) != 0 || any_present(cc->private_names, cc->private_names_n, response);
}

bool directives_explicit(const directives_t *d)
{
    return d->cc.s_maxage != CACHE_CONTROL_ABSENT || d->cc.max_age != CACHE_CONTROL_ABSENT || d->expires;
}

bool directives_lasting(const directives_t *d)
{
    int64_t said = d->cc.s_maxage != CACHE_CONTROL_ABSENT ? d->cc.s_maxage : d->cc.max_age;
    return said > 0 || (said == CACHE_CONTROL_ABSENT && d->expires && !d->expires_malformed);
}

bool directives_status_heuristic(int status)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 206:
    case 300:
    case 301:
    case 308:
    case 404:
    case 405:
    case 410:
        return true;
    default:
        return false;
    }
}

/* A head of ordinary size: what a server says of one that isn't may be about its fields, which aren't in the key. */
static bool ordinary(const fields_t *request)
{
    size_t bytes = 0;
    for (size_t i = 0; request != NULL && i < request->n; i++)
        bytes += request->v[i].name.n + request->v[i].value.n;
    return bytes <= DIRECTIVES_ORDINARY;
}

bool directives_status_guessable(int status, const fields_t *request)
{
    return directives_status_heuristic(status) || ((status == 414 || status == 501) && ordinary(request));
}

bool directives_status_odd(int status)
{
    return status == 400 || status == 413 || status == 414 || status == 431 || status == 501;
}

span_t directives_etag(span_t value, bool *strong)
{
    *strong = !span_starts(value, SPAN("W/"));
    span_t opaque = *strong ? value : span_from(value, 2);
    if (opaque.n < 2 || opaque.p[0] != '"' || opaque.p[opaque.n - 1] != '"')
        return SPAN_NONE;
    for (size_t i = 1; i + 1 < opaque.n; i++) {
        unsigned char c = (unsigned char)opaque.p[i];
        if (c <= ' ' || c == '"' || c == 0x7f)
            return SPAN_NONE;
    }
    return opaque;
}

int64_t directives_seconds(span_t digits)
{
    int64_t v = 0;
    if (digits.n == 0)
        return -1;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return -1;
        v = v * 10 + (digits.p[i] - '0');
        if (v > CACHE_CONTROL_MOST)
            v = CACHE_CONTROL_MOST;
    }
    return v;
}
