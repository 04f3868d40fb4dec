/* What is held for a URI, and what the next request for it would be answered with, and why. A request is made up and
 * taken down the path as far as its decision, by the same steps as any other; rq->why, which they fill in, is also what
 * keeps them from changing, counting or sending anything. What is told is therefore what would be done.
 *
 * The disk is asked first, whatever memory has: its heads are read by a helper thread, and the rest is done on the loop
 * when it has answered. */
#include <stdlib.h>

#include "edge/admin/explanation.h"
#include "edge/base/mem.h"
#include "edge/http/query.h"
#include "edge/http/uri.h"
#include "edge/policy/revalidate.h"
#include "edge/policy/vary.h"
#include "edge/request/request_priv.h"

enum {
    EXPLAIN_HEADERS = 64,
    EXPLAIN_VARIANTS = STORE_MAX_VARIANTS, /* told of each tier */
    EXPLAIN_RULES = 64,                    /* of the site, that match */
    EXPLAIN_SELECTING = VARY_MAX_NAMES
};

typedef struct explain_head {
    object_t *o; /* a reference */
    uint64_t bytes;
} explain_head_t;

typedef struct explain {
    request_t *rq;
    exchange_t x;
    arena_t arena;
    why_t why;
    span_t url;
    handler_reply_t *reply;
    warm_get_t get;
    explain_head_t memory[EXPLAIN_VARIANTS], disk[EXPLAIN_VARIANTS];
    size_t memory_n, disk_n;
} explain_t;

/* ---- what the path tells ---- */

bool explain_ask(request_t *rq, path_rule_t rule, bool holds)
{
    static const why_rule_t rules[] = {
#define PATH_RULE(id, word, section, says, then) {word, section, says, then},
#include "edge/request/path.def"
#undef PATH_RULE
    };
    const why_rule_t *r = &rules[rule];
    return why_ask(rq->why, holds, r->word, r->section, r->says, r->then);
}

static const char *explain_section(int status)
{
    switch (status) {
    case 400:
        return "RFC 9110 15.5.1";
    case 403:
        return "site access";
    case 414:
        return "RFC 9110 15.5.15";
    case 421:
        return "RFC 9110 15.5.20";
    case 504:
        return "RFC 9111 5.2.1.7";
    case 508:
        return "RFC 8586 2";
    default:
        return "RFC 9110 15";
    }
}

request_go_t explain_refused(request_t *rq, int status, const char *detail, const char *sentence)
{
    rq->detail = detail;
    rq->hit = rq->stale_served = false;
    rq->sent_status = status;
    why_ask(rq->why, true, detail != NULL ? detail : "answer", explain_section(status), sentence, "refuse");
    return REQUEST_DONE;
}

/* ---- what is held ---- */

static void explain_keep(explain_head_t *list, size_t *n, object_t *o, uint64_t bytes)
{
    for (size_t i = 0; i < *n; i++)
        if (object_variant(list[i].o) == object_variant(o))
            return;
    if (*n < EXPLAIN_VARIANTS)
        list[(*n)++] = (explain_head_t){object_ref(o), bytes};
}

static void explain_memory(object_t *o, void *arg)
{
    explain_t *e = arg;
    if (span_eq(object_key(o), e->rq->key.text))
        explain_keep(e->memory, &e->memory_n, o, body_length(object_body(o)));
}

/* On a helper thread; the loop looks at it after `done`. */
static void explain_disk_each(warm_get_t *g, object_t *head, uint64_t body_size)
{
    explain_t *e = CONTAINER_OF(g, explain_t, get);
    if (span_eq(object_key(head), e->rq->key.text))
        explain_keep(e->disk, &e->disk_n, head, body_size);
    object_unref(head);
}

static bool explain_disk_match(const warm_get_t *g, span_t key, span_t selecting, const stored_t *meta)
{
    const explain_t *e = CONTAINER_OF(g, explain_t, get);
    (void)meta;
    return lookup_disk_selects(key, selecting, e->rq->key.text, &e->x.fields);
}

static const char *explain_mark(explain_t *e, object_t *o)
{
    static const char *const words[] = {
        [MARK_NONE] = "none", [MARK_SOFT] = "soft", [MARK_STRICT] = "gap", [MARK_HARD] = "hard"};
    mark_t mark = lookup_mark(e->rq, o);
    bool invalidated = mark == MARK_STRICT && lookup_strict(e->rq, o) != LEDGER_STRICT_GAP;
    return invalidated ? "invalidated" : words[mark];
}

static void explain_flags(explanation_stored_t *s, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *word;
    } words[] = {{STORED_NO_CACHE, "no-cache"},
                 {STORED_MUST_REVALIDATE, "must-revalidate"},
                 {STORED_NO_MAX_STALE, "no max-stale"},
                 {STORED_IMMUTABLE, "immutable"},
                 {STORED_AUTH_SHARED, "public"},
                 {STORED_WAS_STALE, "stale from the shield"},
                 {STORED_STRONG_ETAG, "strong validator"},
                 {STORED_PIECES, "in pieces on disk"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if ((flags & words[i].flag) != 0)
            s->says[s->says_n++] = words[i].word;
}

/* The functions that described and judged it when it came are asked again, with the rules as they are now. */
static void explain_origin(explain_t *e, const object_t *o, const stored_t *meta, explanation_stored_t *s)
{
    static const fields_t none;
    const rules_t *rules = &e->rq->rules;
    const uint32_t guesses = STORED_RULE_TTL | STORED_HEURISTIC;
    fields_t fields;
    stored_t again;
    why_t why = {.n = 0};
    if (s->note) {
        storable_t reason = storable_noted(meta);
        s->storing = (why_rule_t){storable_word(reason), storable_section(reason), "what came last could not be shared",
                                  "don't store"};
        return;
    }
    if (fieldblock_unpack(object_fields(o), &e->arena, &fields) != ERR_OK)
        return;
    encode_told_t told = encode_explain(e->rq, o, meta, &fields, s->length);
    s->coding = coding_name(told.coding);
    s->coding_why = told.why;
    lifetime_t from = stored_explain(&again, meta->status, &fields, &none, rules, meta->request_time,
                                     meta->response_time, &e->arena, NULL, &s->lifetime_field);
    s->lifetime_now = again.lifetime;
    if (again.lifetime == meta->lifetime && ((again.flags ^ meta->flags) & guesses) == 0) {
        s->lifetime_from = stored_lifetime_word(from);
        s->lifetime_section = stored_lifetime_section(from);
    }
    if (from != LIFETIME_S_MAXAGE && from != LIFETIME_MAX_AGE)
        s->lifetime_field = NULL;
    storable_explain(METHOD_GET, &none, meta->status, &fields, meta, rules, &e->arena, &why);
    s->storing = why.rule[why.n - 1];
}

static void explain_vary(explain_t *e, const object_t *o, explanation_stored_t *s)
{
    span_t packed = object_selecting(o), entry;
    explanation_field_t *v = arena_zalloc(&e->arena, EXPLAIN_SELECTING * sizeof *v);
    s->vary = v;
    for (size_t n = 0; v != NULL && n < EXPLAIN_SELECTING && vary_next(&packed, &entry, &v[n].name, &v[n].value); n++) {
        v[n].same = lookup_selects(e->rq, entry);
        s->vary_n = n + 1;
    }
}

static void explain_stored(explain_t *e, const char *tier, const explain_head_t *head, explanation_stored_t *s)
{
    request_t *rq = e->rq;
    object_t *o = head->o;
    stored_t meta = object_meta(o);
    bool from_disk = rq->stored != NULL && rq->stored != o && object_variant(rq->stored) == object_variant(o) &&
                     (atomic_load_explicit(&rq->stored->flags, memory_order_relaxed) & OBJECT_FROM_DISK) != 0 &&
                     strcmp(tier, "disk") == 0;
    *s = (explanation_stored_t){
        .tier = tier,
        .chosen = rq->stored == o || rq->part == o ||
                  (from_disk && object_meta(rq->stored).response_time == meta.response_time),
        .selected = lookup_selects(rq, object_selecting(o)),
        .note = (meta.flags & STORED_HIT_FOR_MISS) != 0,
        .status = meta.status,
        .stored_at = meta.response_time,
        .age = stored_age(&meta, rq->env->loop->now.wall),
        .lifetime = meta.lifetime,
        .stale_while_revalidate = meta.stale_while_revalidate,
        .stale_if_error = meta.stale_if_error,
        .etag = fieldblock_get(object_fields(o), SPAN("etag")),
        .modified = fieldblock_get(object_fields(o), SPAN("last-modified")),
        .part = object_part(o),
        .first = meta.part_first,
        .bytes = object_pieces(o) ? (uint64_t)object_length(o) : head->bytes,
        .length = meta.content_length >= 0 ? meta.content_length : (int64_t)head->bytes,
        .hits = atomic_load_explicit(&o->hits, memory_order_relaxed),
        .tags = o->tags_n,
        .purge = explain_mark(e, o),
    };
    explain_flags(s, meta.flags);
    explain_vary(e, o, s);
    explain_origin(e, o, &meta, s);
}

/* ---- the decision ---- */

static const char *explain_word(const request_t *rq, const fields_t *validators)
{
    if (rq->sent_status != 0)
        return "refuse";
    if (rq->hit)
        return rq->stale_served ? "stale" : "hit";
    if (rq->forward == FORWARD_BYPASS || rq->forward == FORWARD_METHOD)
        return "pass";
    return validators->n > 0 ? "revalidate" : "miss";
}

/* The rule that decided: the last one that holds, unless that is only about the way upstream. */
static why_rule_t explain_because(const why_t *why)
{
    for (size_t i = why->n; i-- > 0;)
        if (why->rule[i].then != NULL && strcmp(why->rule[i].then, "wait for it") != 0)
            return why->rule[i];
    return (why_rule_t){"none", "RFC 9111 4", "nothing decided", NULL};
}

/* The path as far as the decision. */
static void explain_walk(explain_t *e, object_t *from_disk)
{
    request_t *rq = e->rq;
    if (rq->cacheable) {
        request_go_t go = lookup_step(rq);
        if (go == REQUEST_WAIT) { /* for the disk, which has answered already */
            if (from_disk != NULL && lookup_match(from_disk, rq) && lookup_mark(rq, from_disk) != MARK_HARD)
                request_take(&rq->stored, from_disk);
            go = lookup_step(rq);
        }
        CHECK(go != REQUEST_WAIT);
        if (go == REQUEST_DONE)
            return;
    }
    if (rq->step == REQUEST_COLLAPSE)
        collapse_step(rq);
}

static void explain_upstream(explain_t *e, explanation_t *out, fields_t *validators)
{
    request_t *rq = e->rq;
    fields_init(validators, &e->arena);
    out->validators = validators;
    out->asks = "no";
    if (rq->sent_status != 0)
        return;
    bool background = rq->hit && rq->verdict.use == REUSE_STALE_REVALIDATE;
    if (rq->hit && !background)
        return;
    object_t *validate = background || rq->own ? collapse_validates(rq) : NULL;
    if (validate != NULL)
        revalidate_add_validators(object_fields(validate), validators, &e->arena);
    out->past_shields = rq->conf->shield.present && collapse_past_shields(rq);
    out->asks = background ? "in the background" : "before";
    if (background)
        return;
    out->joins = rq->collapsed;
    out->stale_on_error = collapse_stale_allowed(rq);
    if (!explain_ask(rq, PATH_ON_ERROR, out->stale_on_error))
        explain_ask(rq, PATH_DISCONNECTED, collapse_disconnected_allowed(rq));
}

static void explain_rules(explain_t *e, explanation_t *out)
{
    const request_t *rq = e->rq;
    if (rq->site == NULL || rq->key.path.p == NULL)
        return;
    conf_rule_view_t *v = arena_zalloc(&e->arena, EXPLAIN_RULES * sizeof *v);
    out->rules = v;
    for (size_t i = 0; v != NULL && i < rq->site->rules_n && out->rules_n < EXPLAIN_RULES; i++)
        if (conf_rule_matches(rq->site, i, rq->key.path, &v[out->rules_n]))
            out->rules_n++;
    out->settings = &rq->rules;
}

static void explain_free(explain_t *e)
{
    for (size_t i = 0; i < e->memory_n; i++)
        object_unref(e->memory[i].o);
    for (size_t i = 0; i < e->disk_n; i++)
        object_unref(e->disk[i].o);
    if (e->rq != NULL)
        request_end(e->rq);
    arena_release(&e->arena);
    free(e);
}

static void explain_finish(explain_t *e, object_t *from_disk, bool refused)
{
    request_t *rq = e->rq;
    explanation_t out = {.node = rq->env->node,
                         .url = e->url,
                         .at = rq->env->loop->now.wall,
                         .site = rq->site != NULL ? rq->site->name : SPAN_NONE,
                         .key = rq->key.text,
                         .uri = rq->key.uri,
                         .why = &e->why,
                         .client = e->x.peer.n > 0};
    fields_t validators, fields;
    if (!refused)
        explain_walk(e, from_disk);
    if (rq->key.text.p != NULL)
        store_each(rq->env->store, rq->key.digest, explain_memory, e);
    out.because = explain_because(&e->why);
    explain_upstream(e, &out, &validators); /* and what happens on errors */
    out.decision = explain_word(rq, &validators);
    out.status = rq->sent_status;
    explain_rules(e, &out);
    explanation_stored_t *stored = arena_zalloc(&e->arena, (e->memory_n + e->disk_n + 1) * sizeof *stored);
    for (size_t i = 0; stored != NULL && i < e->memory_n; i++)
        explain_stored(e, "memory", &e->memory[i], &stored[out.stored_n++]);
    for (size_t i = 0; stored != NULL && i < e->disk_n; i++)
        explain_stored(e, "disk", &e->disk[i], &stored[out.stored_n++]);
    out.stored = stored;
    fields_init(&fields, &e->arena);
    cache_status_add(rq, &fields, SPAN_NONE);
    out.cache_status = rq->cache_status;
    handler_response_t resp = {.status = 200, .content_type = "application/json"};
    resp.body = explanation_json(&out, &resp.body_len);
    e->reply->send(e->reply, &resp);
    explain_free(e);
}

static void explain_disk_done(warm_get_t *g, object_t *o)
{
    explain_t *e = CONTAINER_OF(g, explain_t, get);
    explain_finish(e, o, false);
    object_unref(o);
}

/* ---- the call ---- */

static bool explain_header(explain_t *e, span_t text, handler_response_t *resp)
{
    size_t colon = span_find(text, ':');
    span_t value = span_trim(span_from(text, colon + 1));
    span_t name = arena_copy(&e->arena, span_upto(text, colon));
    for (size_t i = 0; i < name.n; i++)
        ((char *)name.p)[i] = span_lower(name.p[i]);
    if (colon == text.n || !fields_name_valid(name) || !fields_value_valid(value)) {
        handler_problem(resp, 422, "header is no field",
                        "\"%.*s\" should be NAME:VALUE, as in header=Accept-Language:de",
                        SPAN_ARG(span_upto(text, 200)));
        return false;
    }
    if (span_eq(name, SPAN("host"))) {
        handler_problem(resp, 422, "header may not be Host", "the host is that of the URL");
        return false;
    }
    if (e->x.fields.n >= EXPLAIN_HEADERS) {
        handler_problem(resp, 422, "too many headers", "at most %d fields can be given", EXPLAIN_HEADERS);
        return false;
    }
    return fields_add(&e->x.fields, name, value) == ERR_OK;
}

/* Control characters can't be on a request line, and nothing should be explained in place of what was asked. */
static bool explain_printable(span_t text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    return true;
}

static bool explain_url(explain_t *e, span_t text, handler_response_t *resp)
{
    uri_t parts;
    if (e->url.p != NULL) {
        handler_problem(resp, 400, "url is given twice", "ask for one URL at a time");
        return false;
    }
    if (!explain_printable(text) || uri_split(text, &parts) != ERR_OK) {
        handler_problem(
            resp, 422, "url is no URL",
            "\"%.*s\" should be http://HOST/PATH or https://HOST/PATH, percent-encoded where it has an & or a %%",
            SPAN_ARG(span_upto(text, 200)));
        return false;
    }
    e->url = text;
    e->x.scheme = span_caseeq(parts.scheme, SPAN("https")) ? SPAN("https") : SPAN("http");
    e->x.authority = parts.authority;
    e->x.target = arena_printf(&e->arena, "%.*s%s%.*s", SPAN_ARG(parts.path.n > 0 ? parts.path : SPAN("/")),
                               parts.query.p != NULL ? "?" : "", SPAN_ARG(parts.query));
    return true;
}

static bool explain_parameters(explain_t *e, span_t query, handler_response_t *resp)
{
    span_t rest = query, name, value, text;
    while (query_next(&rest, &name, &value)) {
        if (query_decode(&e->arena, name, true, &name) != ERR_OK) {
            handler_problem(resp, 400, "malformed query", "a %% in it has no two hex digits behind it");
            return false;
        }
        bool url = span_eq(name, SPAN("url")), header = span_eq(name, SPAN("header"));
        if (query_decode(&e->arena, value, !url, &text) != ERR_OK) {
            handler_problem(resp, 400, "malformed query", "a %% in it has no two hex digits behind it");
            return false;
        }
        if (url && !explain_url(e, text, resp))
            return false;
        if (header && !explain_header(e, text, resp))
            return false;
        if (url || header)
            continue;
        if (!span_eq(name, SPAN("client"))) {
            handler_problem(resp, 400, "unknown parameter", "\"%.*s\" is none of url, header, client",
                            SPAN_ARG(span_upto(name, 200)));
            return false;
        }
        if (e->x.peer.p != NULL) {
            handler_problem(resp, 400, "client is given twice", "a request comes from one address");
            return false;
        }
        e->x.peer = text;
    }
    if (e->url.p == NULL) {
        handler_problem(resp, 400, "url is missing", "ask as /v1/explain?url=https://HOST/PATH");
        return false;
    }
    network_address_t address;
    if (e->x.peer.p != NULL && network_address(e->x.peer, &address) != ERR_OK) {
        handler_problem(resp, 422, "client is no address", "give it as client=192.0.2.1 or client=2001:db8::1");
        return false;
    }
    return true;
}

void explain_handle(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)ctx;
    request_env_t *env = req->env;
    handler_response_t resp = {.status = 0};
    explain_t *e = mem_zalloc(sizeof *e);
    arena_init(&e->arena, 0);
    e->reply = reply;
    e->x = (exchange_t){
        .loop = env->loop, .arena = &e->arena, .method = METHOD_GET, .method_name = SPAN("GET"), .protocol = 11};
    fields_init(&e->x.fields, &e->arena);
    if (!explain_parameters(e, req->query, &resp)) {
        reply->send(reply, &resp);
        explain_free(e);
        return;
    }
    request_t *rq = e->rq = request_new(env, &e->x);
    rq->why = &e->why;
    bool refused = accept_step(rq) == REQUEST_DONE;
    if (refused && rq->site != NULL && rq->key.path.p != NULL)
        rq->rules = conf_rules_for(rq->site, rq->key.path); /* it didn't come to them */
    if (rq->key.text.p == NULL || env->warm == NULL || !warm_maybe(env->warm, rq->key.digest)) {
        explain_finish(e, NULL, refused);
        return;
    }
    e->get = (warm_get_t){.loop = env->loop,
                          .digest = rq->key.digest,
                          .match = explain_disk_match,
                          .done = explain_disk_done,
                          .each = explain_disk_each};
    warm_get(env->warm, &e->get);
}
