/* The header fields of the request that goes upstream. End-to-end fields pass; hop-by-hop ones and what names the
 * client or the way so far is made anew. Fields that well-known frameworks take for the target URI or the method, and
 * that are not part of our key, would let one client decide what others get: they are not passed on. */
#include "edge/admin/requestid.h"
#include "edge/policy/revalidate.h"
#include "edge/request/request_priv.h"

enum { FORWARD_HOPS_MOST = 255 }; /* of Max-Forwards */

static const span_t forward_dropped[] = {
    /* made anew below, or the server's and libcurl's own */
    SPAN("host"),
    SPAN("content-length"),
    SPAN("expect"),
    SPAN("via"),
    SPAN("cdn-loop"),
    SPAN("forwarded"),
    SPAN("x-forwarded-for"),
    SPAN("x-forwarded-proto"),
    SPAN("x-request-id"),
    SPAN("max-forwards"),
    /* would be taken for the target, the method or the client, and are not in the key */
    SPAN("front-end-https"),
    SPAN("x-host"),
    SPAN("x-url-scheme"),
    SPAN("x-method-override"),
    SPAN("x-real-ip"),
    SPAN("true-client-ip"),
    SPAN("x-client-ip"),
    SPAN("proxy"),
};

static const span_t forward_dropped_prefixes[] = {
    SPAN("x-forwarded-"),
    SPAN("x-original-"),
    SPAN("x-rewrite-"),
    SPAN("x-http-"),
};

/* Of the same kind, but with a use where nothing is shared (Destination: RFC 4918 10.3): taken off what is fetched for
 * the cache. */
static const span_t forward_unshared[] = {
    SPAN("base-url"),
    SPAN("cf-connecting-ip"),
    SPAN("client-ip"),
    SPAN("destination"),
    SPAN("fastly-client-ip"),
    SPAN("http-url"),
    SPAN("proxy-host"),
    SPAN("proxy-url"),
    SPAN("request-uri"),
    SPAN("wl-proxy-client-ip"),
    SPAN("x-arr-ssl"),
    SPAN("x-backend-host"),
    SPAN("x-cluster-client-ip"),
    SPAN("x-originating-ip"),
    SPAN("x-proxy-url"),
    SPAN("x-remote-addr"),
    SPAN("x-remote-ip"),
    SPAN("x-scheme"),
    SPAN("x-forwarded"),
    SPAN("forwarded-for"),
    SPAN("x-forward-for"),
    SPAN("x-override-url"),
    SPAN("x-matched-path"),
    SPAN("x-custom-ip-authorization"),
};

static const span_t forward_unshared_prefixes[] = {
    SPAN("x-amz-"),
    SPAN("x-middleware-"),
    SPAN("x-invoke-"),
    SPAN("x-now-"),
    SPAN("x-vercel-"),
    SPAN("x-react-router-"),
    SPAN("x-envoy-"),
};

static bool forward_lists(span_t name, const span_t *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq(name, names[i]))
            return true;
    return false;
}

static bool forward_begins(span_t name, const span_t *prefixes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_starts(name, prefixes[i]))
            return true;
    return false;
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Framing, which no other field of the request may seem to say again. */
static const span_t forward_framing[] = {SPAN("transfer-encoding"), SPAN("connection"), SPAN("keep-alive"),
                                         SPAN("proxy-connection")};

static bool forward_drops(span_t name, bool own, bool signs);

/* Many an application can't tell "a_b" from "a-b" (RFC 3875 4.1.18 makes one name of both), so it would take the one
 * for the other, which isn't in the key, or was taken off. */
static bool forward_drops_folded(span_t name, bool own)
{
    char folded[64];
    if (own || name.n > sizeof folded) /* no name of ours is that long */
        return own;
    for (size_t i = 0; i < name.n; i++)
        folded[i] = name.p[i] == '_' ? '-' : name.p[i];
    span_t other = span_of(folded, name.n);
    return forward_lists(other, forward_framing, COUNT(forward_framing)) || forward_drops(other, true, false);
}

static bool forward_drops(span_t name, bool own, bool signs)
{
    if (span_find(name, '_') < name.n)
        return forward_drops_folded(name, own);
    if (tier_internal(name) || forward_lists(name, forward_dropped, COUNT(forward_dropped)) ||
        forward_begins(name, forward_dropped_prefixes, COUNT(forward_dropped_prefixes)))
        return true;
    if (!own || (signs && span_starts(name, SPAN("x-amz-"))))
        return false;
    return forward_lists(name, forward_unshared, COUNT(forward_unshared)) ||
           forward_begins(name, forward_unshared_prefixes, COUNT(forward_unshared_prefixes));
}

/* It belongs to URLs of its framework's own, and makes of any other's redirect what no browser follows. */
static bool forward_misplaced(const request_t *rq, span_t name)
{
    static const char data[] = "/_next/data/";
    return span_eq(name, SPAN("x-nextjs-data")) && memmem(rq->key.path.p, rq->key.path.n, data, sizeof data - 1) == NULL;
}

bool forward_signs(const request_t *rq)
{
    for (size_t i = 0; rq->cc.has_authorization && i < rq->x->fields.n; i++)
        if (span_starts(rq->x->fields.v[i].name, SPAN("x-amz-")))
            return true;
    return false;
}

/* "before, more", or more alone. */
static span_t forward_append(request_t *rq, span_t name, span_t more, bool trust)
{
    span_t before = trust ? fields_join(&rq->x->fields, name, rq->x->arena) : SPAN_NONE;
    return before.n > 0 ? arena_printf(rq->x->arena, "%.*s, %.*s", SPAN_ARG(before), SPAN_ARG(more)) : more;
}

static span_t forward_forwarded(request_t *rq)
{
    span_t peer = rq->x->peer;
    bool v6 = span_find(peer, ':') < peer.n, known = v6 || span_find(peer, '.') < peer.n;
    if (!known)
        return arena_printf(rq->x->arena, "for=unknown;host=\"%.*s\";proto=%.*s", SPAN_ARG(rq->key.host),
                            SPAN_ARG(rq->key.scheme));
    return arena_printf(rq->x->arena, "for=%s%.*s%s;host=\"%.*s\";proto=%.*s", v6 ? "\"[" : "", SPAN_ARG(peer),
                        v6 ? "]\"" : "", SPAN_ARG(rq->key.host), SPAN_ARG(rq->key.scheme));
}

static span_t forward_cdn_loop(request_t *rq)
{
    span_t before = fields_join(&rq->x->fields, SPAN("cdn-loop"), rq->x->arena);
    if (rq->from_tier && before.n > 0)
        return before; /* the edge wrote it */
    return before.n > 0 ? arena_printf(rq->x->arena, "%.*s, brink", SPAN_ARG(before)) : SPAN("brink");
}

static bool forward_request_id(request_t *rq)
{
    if (rq->id.p != NULL)
        return true;
    span_t given = fields_get(&rq->x->fields, SPAN("x-request-id"));
    if (rq->from_tier && requestid_valid(given)) {
        rq->id = given;
        return true;
    }
    char *id = arena_alloc(rq->x->arena, REQUESTID_BYTES + 1);
    if (id == NULL)
        return false;
    requestid_make(id);
    rq->id = span_of(id, REQUESTID_BYTES);
    return true;
}

/* One hop less (RFC 9110 7.6.2); 0 was answered here. On other methods the field means nothing and doesn't go up. */
static err_t forward_max_forwards(request_t *rq, fields_t *out)
{
    span_t given = fields_get(&rq->x->fields, SPAN("max-forwards"));
    int64_t hops = 0;
    if (rq->x->method != METHOD_OPTIONS || given.n == 0)
        return ERR_OK;
    for (size_t i = 0; i < given.n; i++) {
        if (given.p[i] < '0' || given.p[i] > '9')
            return ERR_OK;
        hops = hops < FORWARD_HOPS_MOST ? hops * 10 + (given.p[i] - '0') : hops;
    }
    hops = hops > FORWARD_HOPS_MOST ? FORWARD_HOPS_MOST : hops;
    return fields_add(out, SPAN("max-forwards"), arena_printf(rq->x->arena, "%lld", (long long)hops - 1));
}

err_t forward_fields(request_t *rq, bool own, fields_t *out)
{
    exchange_t *x = rq->x;
    fields_t all, untagged;
    fields_init(&all, x->arena);
    bool more = !own && !rq->from_tier && coding_untag_fields(&x->fields, x->arena, &untagged);
    const fields_t *asked = more ? &untagged : &x->fields; /* origins know nothing of the tags of coded forms */
    for (size_t i = 0; i < asked->n; i++)
        if (fields_add(&all, asked->v[i].name, asked->v[i].value) != ERR_OK)
            return ERR_TOO_BIG;
    fields_remove_hop_by_hop(&all);
    if (own)
        revalidate_strip_conditions(&all);
    fields_init(out, x->arena);
    for (size_t i = 0; i < all.n; i++)
        if (!forward_drops(all.v[i].name, own, rq->cc.has_authorization) &&
            !(own && forward_misplaced(rq, all.v[i].name)) &&
            fields_add(out, all.v[i].name, all.v[i].value) != ERR_OK)
            return ERR_TOO_BIG;
    if (!forward_request_id(rq))
        return ERR_TOO_BIG;
    err_t err = fields_add(out, SPAN("via"), forward_append(rq, SPAN("via"), rq->env->via, true));
    err |= fields_add(out, SPAN("cdn-loop"), forward_cdn_loop(rq));
    err |= fields_add(
        out, SPAN("x-forwarded-for"),
        forward_append(rq, SPAN("x-forwarded-for"), x->peer.n > 0 ? x->peer : SPAN("unknown"), rq->from_tier));
    err |=
        fields_add(out, SPAN("forwarded"), forward_append(rq, SPAN("forwarded"), forward_forwarded(rq), rq->from_tier));
    err |= fields_add(out, SPAN("x-forwarded-proto"), rq->key.scheme);
    err |= fields_add(out, SPAN("x-request-id"), rq->id);
    err |= forward_max_forwards(rq, out);
    return err == ERR_OK ? ERR_OK : ERR_TOO_BIG;
}
