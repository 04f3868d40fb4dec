/* May a shared cache keep this response? First what forbids it whatever else is said; then whether it could ever be
 * used: what is stale at once and can't be validated only takes up room. Reasons and rules stand in storable.def; what
 * is stored is explained by the same ones. An operator's override_ttl goes above the RFC, but only with
 * override_private above what protects a single user. */
#include "edge/policy/storable.h"

#include "edge/base/check.h"
#include "edge/policy/policy_priv.h"
#include "edge/policy/tags.h"

static const struct {
    const char *word, *section;
} reasons[] = {
#define STORABLE_REASON(id, word, section) [id] = {word, section},
#include "edge/policy/storable.def"
};

typedef struct question {
    method_t method;
    int status;
    const fields_t *request, *response;
    const stored_t *described;
    const rules_t *rules;
    arena_t *scratch;
    directives_t d;
    bool shared; /* the operator says so: override_private */
} question_t;

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
    static const int ranges[][2] = {{200, 206}, {300, 303}, {307, 308}, {400, 401},
                                    {403, 415}, {421, 422}, {426, 426}, {500, 505}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (status >= ranges[i][0] && status <= ranges[i][1])
            return true;
    return false;
}

static bool request_no_store(const question_t *q)
{
    cache_control_t asked;
    return cache_control_parse(&asked, q->request, SPAN("cache-control")) &&
           (asked.flags & CACHE_CONTROL_NO_STORE) != 0;
}

static bool must_understand(const question_t *q)
{
    return (q->d.cc.flags & CACHE_CONTROL_MUST_UNDERSTAND) != 0;
}

/* RFC 9111 7.3: Set-Cookie doesn't forbid storing, the origin says so by Cache-Control. So it must have said something:
 * a guess or an operator's ttl doesn't share cookies. And where the request brought a cookie, the answer to it is
 * likely to renew that one's session: then it must be said to be for all. */
static bool cookie_shared(const question_t *q)
{
    if (q->d.source != DIRECTIVES_CACHE_CONTROL || (q->d.cc.flags & CACHE_CONTROL_PUBLIC) != 0 ||
        (q->d.cc.flags & CACHE_CONTROL_S_MAXAGE_SHARES) != 0)
        return true;
    return directives_explicit(&q->d) && !fields_has(q->request, SPAN("cookie"));
}

static bool too_many_tags(const question_t *q)
{
    digest_t *tags;
    size_t n;
    return tags_collect(q->response, q->scratch, &tags, &n) != ERR_OK;
}

/* Of a status that nobody has defined, only what is legible says that it may be kept. */
static bool may_be_fresh(const question_t *q)
{
    bool said = status_understood(q->status) ? directives_explicit(&q->d) : directives_lasting(&q->d);
    return said || (q->described->flags & (STORED_RULE_TTL | STORED_HEURISTIC)) != 0 ||
           directives_status_heuristic(q->status) ||
           ((q->d.cc.flags & CACHE_CONTROL_PUBLIC) != 0 && !directives_status_odd(q->status));
}

static bool useful(const question_t *q)
{
    const stored_t *s = q->described;
    bool lasts = s->lifetime > 0 || s->stale_while_revalidate > 0 || s->stale_if_error > 0;
    return (s->flags & (STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED)) != 0 ||
           (lasts && (s->flags & STORED_NO_CACHE) == 0);
}

storable_t storable_explain(method_t method, const fields_t *request, int status, const fields_t *response,
                            const stored_t *described, const rules_t *rules, arena_t *scratch, why_t *why)
{
    question_t question = {.method = method,
                           .status = status,
                           .request = request,
                           .response = response,
                           .described = described,
                           .rules = rules,
                           .scratch = scratch,
                           .shared = rules->override_private && rules->override_ttl != RULES_UNSET};
    const question_t *q = &question;
    directives_read(&question.d, response, scratch);
#define STORABLE_RULE_ROW(verdict, says, condition)                                                                    \
    if (why_ask(why, condition, reasons[verdict].word, reasons[verdict].section, says,                                 \
                verdict == STORABLE_YES ? "store" : "don't store"))                                                    \
        return verdict;
#include "edge/policy/storable.def"
    __builtin_unreachable(); /* the last rule always holds */
}

storable_t storable_decide(method_t method, const fields_t *request, int status, const fields_t *response,
                           const stored_t *described, const rules_t *rules, arena_t *scratch)
{
    return storable_explain(method, request, status, response, described, rules, scratch, NULL);
}

/* A note has no status: the verdict stands in its place. */
void storable_note(stored_t *out, storable_t why, msec_t now_wall, msec_t lifetime)
{
    *out = (stored_t){
        .status = (int32_t)why,
        .flags = STORED_HIT_FOR_MISS,
        .date = now_wall,
        .request_time = now_wall,
        .response_time = now_wall,
        .lifetime = lifetime,
        .last_modified = -1,
        .content_length = -1,
    };
}

storable_t storable_noted(const stored_t *note)
{
    CHECK((note->flags & STORED_HIT_FOR_MISS) != 0);
    return (storable_t)note->status;
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
