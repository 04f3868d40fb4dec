/* May a shared cache keep this response? First what forbids it whatever else is said, in the order in which an operator
 * would want to hear of it; then whether it could ever be used: what is stale at once and can't be validated only takes
 * up room. An operator's override_ttl goes above the RFC, but only with override_private above what protects a single
 * user. */
#include "edge/policy/storable.h"

#include "edge/base/check.h"
#include "edge/policy/policy_priv.h"
#include "edge/policy/tags.h"

static const struct {
    const char *word, *section;
} reasons[] = {
#define X(id, word, section) [id] = {word, section},
    STORABLE_REASONS(X)
#undef X
};

/* Answers that are about one request (its conditions, its range, its rate) or that RFC 6585 says no cache may store. */
static bool status_never(int status)
{
    switch (status) {
    case 304:
    case 412:
    case 416:
    case 417:
    case 428:
    case 429:
    case 431:
    case 511:
        return true;
    default:
        return status < 200 || status > 599;
    }
}

/* What must-understand asks for (RFC 9111 5.2.2.3): those that RFC 9110 15 defines. */
static bool status_understood(int status)
{
    static const int ranges[][2] = {{200, 205}, {300, 303}, {307, 308}, {400, 401},
                                    {403, 415}, {421, 422}, {426, 426}, {500, 505}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (status >= ranges[i][0] && status <= ranges[i][1])
            return true;
    return false;
}

static storable_t decide_freshness(int status, const directives_t *d, const stored_t *s)
{
    bool may = directives_explicit(d) || (s->flags & (STORED_RULE_TTL | STORED_HEURISTIC)) != 0 ||
               directives_status_heuristic(status) ||
               ((d->cc.flags & CACHE_CONTROL_PUBLIC) != 0 && !directives_status_odd(status));
    if (!may)
        return STORABLE_NO_FRESHNESS;
    bool validators = (s->flags & (STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED)) != 0;
    bool usable = s->lifetime > 0 || s->stale_while_revalidate > 0 || s->stale_if_error > 0;
    if (validators || (usable && (s->flags & STORED_NO_CACHE) == 0))
        return STORABLE_YES;
    return d->expires_malformed ? STORABLE_MALFORMED : STORABLE_NO_FRESHNESS;
}

/* RFC 9111 7.3: Set-Cookie doesn't forbid storing, the origin says so by Cache-Control. So it must have said something:
 * a guess or an operator's ttl doesn't share cookies. And where the request brought a cookie, the answer to it is
 * likely to renew that one's session: then it must be said to be for all. */
static bool decide_cookie(const fields_t *request, const directives_t *d)
{
    if (d->source == DIRECTIVES_TARGETED || (d->cc.flags & CACHE_CONTROL_PUBLIC) != 0 ||
        d->cc.s_maxage != CACHE_CONTROL_ABSENT)
        return true;
    return directives_explicit(d) && !fields_has(request, SPAN("cookie"));
}

storable_t storable_decide(method_t method, const fields_t *request, int status, const fields_t *response,
                           const stored_t *described, const rules_t *rules, arena_t *scratch)
{
    if (!rules->cache)
        return STORABLE_RULE;
    if (method != METHOD_GET && (method != METHOD_POST || status != 200))
        return STORABLE_METHOD;
    cache_control_t asked;
    if (cache_control_parse(&asked, request, SPAN("cache-control")) && (asked.flags & CACHE_CONTROL_NO_STORE) != 0)
        return STORABLE_REQUEST_NO_STORE;
    if (status == 206)
        return STORABLE_PARTIAL;
    if (status_never(status))
        return STORABLE_STATUS;

    directives_t d;
    directives_read(&d, response, scratch);
    const cache_control_t *cc = &d.cc;
    if (method == METHOD_POST && !directives_explicit(&d)) /* RFC 9110 9.3.3 */
        return STORABLE_METHOD;
    bool must_understand = (cc->flags & CACHE_CONTROL_MUST_UNDERSTAND) != 0;
    if (must_understand && !status_understood(status))
        return STORABLE_STATUS;
    bool shared = rules->override_private && rules->override_ttl != RULES_UNSET;
    if (!shared) {
        if ((cc->flags & CACHE_CONTROL_NO_STORE) != 0 && !must_understand)
            return STORABLE_NO_STORE;
        if (d.private)
            return STORABLE_PRIVATE;
        if (fields_has(request, SPAN("authorization")) && (described->flags & STORED_AUTH_SHARED) == 0)
            return STORABLE_AUTHORIZATION;
        if (fields_has(response, SPAN("set-cookie")) && !decide_cookie(request, &d))
            return STORABLE_SET_COOKIE;
    }
    if (described->flags & STORED_VARY_ANY)
        return STORABLE_VARY_ANY;
    digest_t *tags;
    size_t n;
    if (tags_collect(response, scratch, &tags, &n) != ERR_OK)
        return STORABLE_TOO_MANY_TAGS;
    return decide_freshness(status, &d, described);
}

void storable_strip(fields_t *response, arena_t *scratch)
{
    directives_t d;
    directives_read(&d, response, scratch);
    size_t kept = 0;
    for (size_t i = 0; i < response->n; i++)
        if (!cache_control_lists(d.cc.no_cache_names, d.cc.no_cache_names_n, response->v[i].name) &&
            !cache_control_lists(d.cc.private_names, d.cc.private_names_n, response->v[i].name))
            response->v[kept++] = response->v[i];
    response->n = kept;
}

const char *storable_word(storable_t s)
{
    CHECK((size_t)s < sizeof reasons / sizeof *reasons);
    return reasons[s].word;
}

const char *storable_section(storable_t s)
{
    CHECK((size_t)s < sizeof reasons / sizeof *reasons);
    return reasons[s].section;
}
