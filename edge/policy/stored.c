/* What a response's head says about its reuse, worked out once. The order of freshness (RFC 9111 4.2.1): the operator's
 * override_ttl; s-maxage; max-age; Expires minus Date; the operator's ttl; a tenth of the time since the last
 * modification (lifetime.def). The first three come from whichever field governs (directives.c). What can't be read
 * makes a response stale, never fresh. */
#include "edge/policy/stored.h"

#include "edge/http/date.h"
#include "edge/http/range.h"
#include "edge/policy/codable.h"
#include "edge/policy/policy_priv.h"
#include "edge/policy/vary.h"

/* A guess is bounded: a page that nobody touched for ten years is no promise about next year (RFC 9111 4.2.2). */
#define HEURISTIC_MOST ((msec_t)24 * 60 * 60 * MSEC_PER_SEC)
/* An operator's ttl is meant for what the path holds, not for its absence: "/static" kept for a year must not keep the
 * 404 of a deployment that was late by a second. */
#define RULE_ERROR_MOST ((msec_t)60 * MSEC_PER_SEC)
#define LIFETIME_MOST ((msec_t)CACHE_CONTROL_MOST * MSEC_PER_SEC)

static msec_t read_age(const fields_t *response)
{
    span_t value = fields_get(response, SPAN("age"));
    int64_t seconds = directives_seconds(span_trim(span_upto(value, span_find(value, ','))));
    return seconds < 0 ? 0 : seconds * MSEC_PER_SEC;
}

static msec_t read_date(const fields_t *response, span_t name, msec_t now_wall, msec_t absent)
{
    msec_t when;
    span_t value = fields_get(response, name);
    return value.p != NULL && date_parse(value, now_wall, &when) == ERR_OK ? when : absent;
}

/* Of several lines the earliest counts; one that is no date lies in the past (RFC 9111 5.3). */
static msec_t read_expires(const fields_t *response, msec_t date, msec_t now_wall)
{
    msec_t lifetime = LIFETIME_MOST;
    span_t value;
    for (size_t i = 0; fields_next(response, SPAN("expires"), &i, &value);) {
        msec_t when;
        if (date_parse(value, now_wall, &when) != ERR_OK || when <= date)
            return 0;
        if (when - date < lifetime)
            lifetime = when - date;
    }
    return lifetime;
}

static int64_t read_length(int status, const fields_t *response)
{
    if (status == 206) {
        range_t part;
        int64_t length;
        span_t value = fields_get(response, SPAN("content-range"));
        return value.p != NULL && range_parse_content_range(value, &part, &length) == ERR_OK ? length : -1;
    }
    span_t value = fields_get(response, SPAN("content-length"));
    if (value.n == 0 || value.n > 18)
        return -1;
    int64_t v = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return -1;
        v = v * 10 + (value.p[i] - '0');
    }
    return v;
}

static bool pragma_no_cache(const fields_t *response)
{
    return !fields_has(response, SPAN("cache-control")) &&
           span_caseeq(fields_get(response, SPAN("pragma")), SPAN("no-cache"));
}

static void describe_validators(stored_t *out, const fields_t *response, msec_t now_wall)
{
    bool strong;
    out->last_modified = read_date(response, SPAN("last-modified"), now_wall, -1);
    if (out->last_modified >= 0)
        out->flags |= STORED_HAS_LAST_MODIFIED;
    else
        out->last_modified = -1; /* before 1970 is a clock that was never set */
    if (fields_count(response, SPAN("etag")) == 1 &&
        directives_etag(fields_get(response, SPAN("etag")), &strong).p != NULL)
        out->flags |= STORED_HAS_ETAG | (strong ? STORED_STRONG_ETAG : 0);
}

static bool overridable(int status)
{
    return directives_status_heuristic(status) || status == 302 || status == 307;
}

static msec_t bounded_rule(int status, msec_t ttl)
{
    return status >= 400 && ttl > RULE_ERROR_MOST ? RULE_ERROR_MOST : ttl;
}

typedef struct question {
    const stored_t *out; /* described so far */
    const directives_t *d;
    const fields_t *response, *request;
    const rules_t *rules;
} question_t;

static bool guessable(const question_t *q)
{
    return q->out->last_modified >= 0 && q->out->last_modified < q->out->date && !pragma_no_cache(q->response) &&
           (directives_status_guessable(q->out->status, q->request) ||
            ((q->d->cc.flags & CACHE_CONTROL_PUBLIC) != 0 && !directives_status_odd(q->out->status)));
}

static lifetime_t lifetime_source(const question_t *q, why_t *why)
{
#define LIFETIME_SOURCE(id, word, section, says, condition)                                                            \
    if (why_ask(why, condition, word, section, says, "lifetime"))                                                      \
        return id;
#include "edge/policy/lifetime.def"
#undef LIFETIME_SOURCE
    __builtin_unreachable(); /* the last one always holds */
}

static msec_t heuristic(const stored_t *s)
{
    msec_t most = directives_status_odd(s->status) ? RULE_ERROR_MOST : HEURISTIC_MOST;
    msec_t tenth = (s->date - s->last_modified) / 10;
    return tenth < most ? tenth : most;
}

static lifetime_t describe_lifetime(stored_t *out, const directives_t *d, const fields_t *response,
                                    const fields_t *request, const rules_t *rules, why_t *why)
{
    question_t q = {.out = out, .d = d, .response = response, .request = request, .rules = rules};
    lifetime_t source = lifetime_source(&q, why);
    switch (source) {
    case LIFETIME_OVERRIDE:
        out->flags |= STORED_RULE_TTL;
        out->lifetime = bounded_rule(out->status, rules->override_ttl);
        break;
    case LIFETIME_S_MAXAGE:
        out->lifetime = d->cc.s_maxage * MSEC_PER_SEC;
        break;
    case LIFETIME_MAX_AGE:
        out->lifetime = d->cc.max_age * MSEC_PER_SEC;
        break;
    case LIFETIME_EXPIRES:
        out->lifetime = read_expires(response, out->date, out->response_time);
        break;
    case LIFETIME_TTL:
        out->flags |= STORED_RULE_TTL;
        out->lifetime = bounded_rule(out->status, rules->ttl);
        break;
    case LIFETIME_HEURISTIC:
        out->flags |= STORED_HEURISTIC;
        out->lifetime = heuristic(out);
        break;
    case LIFETIME_NONE:
        break;
    }
    return source;
}

static msec_t stale_window(int64_t own, msec_t rule)
{
    if (own != CACHE_CONTROL_ABSENT)
        return own * MSEC_PER_SEC;
    return rule != RULES_UNSET ? rule : 0;
}

static void describe_staleness(stored_t *out, const directives_t *d, const rules_t *rules, bool overridden)
{
    const cache_control_t *cc = &d->cc;
    if (overridden || cc->stale_while_revalidate != CACHE_CONTROL_ABSENT ||
        cc->stale_if_error != CACHE_CONTROL_ABSENT || rules->stale_while_revalidate != RULES_UNSET ||
        rules->stale_if_error != RULES_UNSET)
        out->flags |= STORED_STALE_SAID;
    bool revalidate = (cc->flags & (CACHE_CONTROL_MUST_REVALIDATE | CACHE_CONTROL_PROXY_REVALIDATE)) != 0;
    if (d->no_cache && !overridden)
        out->flags |= STORED_NO_CACHE;
    revalidate |= d->no_cache && overridden; /* an operator's override_ttl says nothing of the time after it */
    if (!revalidate && (out->flags & STORED_NO_CACHE) == 0) {
        out->stale_while_revalidate = stale_window(cc->stale_while_revalidate, rules->stale_while_revalidate);
        out->stale_if_error = stale_window(cc->stale_if_error, rules->stale_if_error);
    }
    if (revalidate) {
        out->flags |= STORED_MUST_REVALIDATE;
    } else if (cc->s_maxage != CACHE_CONTROL_ABSENT) {
        bool windows = out->stale_while_revalidate > 0 || out->stale_if_error > 0;
        out->flags |= windows ? STORED_NO_MAX_STALE : STORED_MUST_REVALIDATE;
    }
}

lifetime_t stored_explain(stored_t *out, int status, const fields_t *response, const fields_t *request,
                          const rules_t *rules, msec_t request_time, msec_t response_time, arena_t *scratch, why_t *why,
                          const char **field)
{
    static const char *const fields[] = {[DIRECTIVES_CACHE_CONTROL] = "Cache-Control",
                                         [DIRECTIVES_BRINK] = "Brink-CDN-Cache-Control",
                                         [DIRECTIVES_CDN] = "CDN-Cache-Control",
                                         [DIRECTIVES_SURROGATE] = "Surrogate-Control"};
    directives_t d;
    directives_read(&d, response, scratch);
    msec_t delay = response_time > request_time ? response_time - request_time : 0;
    *out = (stored_t){
        .status = status,
        .request_time = request_time,
        .response_time = response_time,
        .date = read_date(response, SPAN("date"), response_time, response_time),
        .initial_age = read_age(response) + delay, /* corrected_age_value */
        .content_length = read_length(status, response),
    };
    if (response_time - out->date > out->initial_age) /* apparent_age: the origin's clock says it is older */
        out->initial_age = response_time - out->date;

    describe_validators(out, response, response_time);
    lifetime_t source = describe_lifetime(out, &d, response, request, rules, why);
    /* an operator's override_ttl overrules the response's own no-cache, too */
    bool overridden = source == LIFETIME_OVERRIDE;
    describe_staleness(out, &d, rules, overridden);
    if (d.cc.flags & CACHE_CONTROL_IMMUTABLE)
        out->flags |= STORED_IMMUTABLE;
    const uint32_t shares = CACHE_CONTROL_PUBLIC | CACHE_CONTROL_MUST_REVALIDATE_SHARES | CACHE_CONTROL_S_MAXAGE_SHARES;
    if ((d.cc.flags & shares) != 0 || (overridden && rules->override_private))
        out->flags |= STORED_AUTH_SHARED;

    if (codable_decide(status, response) == CODABLE_YES)
        out->flags |= STORED_CODABLE;

    span_t packed;
    if (vary_pack(scratch, response, request, &packed) != ERR_OK)
        out->flags |= STORED_VARY | STORED_VARY_ANY;
    else if (packed.n > 0)
        out->flags |= STORED_VARY;
    *field = fields[d.source];
    return source;
}

void stored_describe(stored_t *out, int status, const fields_t *response, const fields_t *request, const rules_t *rules,
                     msec_t request_time, msec_t response_time, arena_t *scratch)
{
    const char *field;
    stored_explain(out, status, response, request, rules, request_time, response_time, scratch, NULL, &field);
}

const char *stored_lifetime_word(lifetime_t source)
{
    static const char *const words[] = {
#define LIFETIME_SOURCE(id, word, section, says, condition) [id] = word,
#include "edge/policy/lifetime.def"
#undef LIFETIME_SOURCE
    };
    return words[source];
}

const char *stored_lifetime_section(lifetime_t source)
{
    static const char *const sections[] = {
#define LIFETIME_SOURCE(id, word, section, says, condition) [id] = section,
#include "edge/policy/lifetime.def"
#undef LIFETIME_SOURCE
    };
    return sections[source];
}

msec_t stored_age(const stored_t *s, msec_t now_wall)
{
    /* What arrived in the future did so before the clock was set back, by so much at least. It must not stay fresh
     * until that time comes again. */
    msec_t since = now_wall - s->response_time;
    return s->initial_age + (since < 0 ? -since : since);
}

msec_t stored_ttl(const stored_t *s, msec_t now_wall)
{
    return s->lifetime - stored_age(s, now_wall);
}
