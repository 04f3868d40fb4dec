/* What concerns more than one setting: contradictions are errors at the later of the two places, what is allowed and
 * probably not meant becomes a warning. Then the indexes that lookups use are built: sites by host pattern, upstreams
 * by URL. */
#include "edge/conf/conf_priv.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/hash.h"

static bool validate_memory(conf_reader_t *r, const tree_t *root)
{
    conf_memory_t *m = &r->snapshot->pub.memory;
    const tree_t *most = reader_child(reader_child(root, "memory"), "max_object");
    if (most == NULL)
        m->max_object = m->size / 4 < (64 << 20) ? m->size / 4 : 64 << 20;
    if (m->max_object > m->size)
        return reader_fail(r, ERR_RANGE, most,
                           "`max_object` is larger than `size`: an object of that size never fits into memory");
    return true;
}

/* ---- listeners ---- */
static bool validate_same_address(const conf_address_t *a, const conf_address_t *b)
{
    if (a->kind != b->kind || a->port != b->port)
        return false;
    if (a->kind == CONF_UNIX)
        return span_eq(a->path, b->path);
    return a->sa_len == b->sa_len && memcmp(&a->sa, &b->sa, a->sa_len) == 0;
}

/* Would one of them take the port of the other? [::] leaves that of IPv4 to who lists it. */
static bool validate_any(const conf_address_t *a, const conf_address_t *b)
{
    if (a->kind == CONF_UNIX || b->kind == CONF_UNIX || a->port != b->port)
        return false;
    if (a->kind == CONF_TCP4)
        return b->kind == CONF_TCP4 && ((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr == htonl(INADDR_ANY);
    return b->kind != CONF_TCP4 && IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
}

static bool validate_clash(conf_reader_t *r, const tree_t *place, const conf_address_t *a, const conf_address_t *b)
{
    if (!validate_any(a, b) && !validate_any(b, a))
        return true;
    return reader_fail(r, ERR_EXISTS, place, "`%.*s` and `%.*s` are one port: the address for all takes it whole",
                       SPAN_ARG(a->text), SPAN_ARG(b->text));
}

static bool validate_loopback(const conf_address_t *a)
{
    if (a->kind == CONF_TCP4)
        return ntohl(((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr) >> 24 == 127;
    return a->kind == CONF_UNIX || IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
}

static bool validate_listeners(conf_reader_t *r, const tree_t *root)
{
    const conf_t *c = &r->snapshot->pub;
    const tree_t *list = reader_child(root, "listen"), *node = list->first;
    for (size_t i = 0; i < c->listeners_n; i++, node = node->next) {
        const conf_listener_t *l = &c->listeners[i];
        const tree_t *place = reader_child(node, "address");
        for (size_t j = 0; j < i; j++)
            if (validate_same_address(&l->address, &c->listeners[j].address))
                return reader_fail(r, ERR_EXISTS, place, "`%.*s` is listened on twice: one listener serves all sites",
                                   SPAN_ARG(l->address.text));
        if (c->admin.present && validate_same_address(&l->address, &c->admin.address))
            return reader_fail(r, ERR_EXISTS, place, "`%.*s` is the address of admin, too: give each its own port",
                               SPAN_ARG(l->address.text));
        for (size_t j = 0; j < i; j++)
            if (!validate_clash(r, place, &l->address, &c->listeners[j].address))
                return false;
        if (c->admin.present && !validate_clash(r, place, &l->address, &c->admin.address))
            return false;
        if (l->certificates_n == 0 && l->address.port == 443)
            reader_warn(r, place, "port 443 without certificates answers cleartext HTTP only");
        if (l->proxy_from_n > 0 && !l->proxy_protocol)
            return reader_fail(r, ERR_SYNTAX, reader_child(node, "proxy_from"),
                               "proxy_from needs proxy_protocol: true: without it nobody is asked for a PROXY line");
        if (l->certificates_n == 0 && l->client_ca.p != NULL)
            return reader_fail(r, ERR_SYNTAX, reader_child(node, "client_ca"),
                               "client_ca needs certificates: without TLS there are no client certificates");
        /* Where the certificates stand, for who loads them. */
        const tree_t *certificates = reader_child(node, "certificates");
        conf_certificate_t *certificate = (conf_certificate_t *)l->certificates;
        for (const tree_t *e = certificates != NULL ? certificates->first : NULL; e != NULL;
             e = e->next, certificate++) {
            certificate->line = e->line;
            certificate->column = e->column;
        }
    }
    return true;
}

static bool validate_admin(conf_reader_t *r, const tree_t *root)
{
    const conf_t *c = &r->snapshot->pub;
    const tree_t *admin = reader_child(root, "admin"), *tokens = reader_child(admin, "tokens");
    const tree_t *node = tokens != NULL ? tokens->first : NULL;
    for (size_t i = 0; i < c->admin.tokens_n && node != NULL; i++, node = node->next) {
        const conf_token_t *t = &c->admin.tokens[i];
        for (size_t j = 0; j < i; j++) {
            if (span_eq(t->name, c->admin.tokens[j].name))
                return reader_fail(r, ERR_EXISTS, reader_child(node, "name"),
                                   "two tokens are called `%.*s`: the audit log could not tell them apart",
                                   SPAN_ARG(t->name));
            if (memcmp(t->sha256, c->admin.tokens[j].sha256, sizeof t->sha256) == 0)
                return reader_fail(r, ERR_EXISTS, reader_child(node, "sha256"), "`%.*s` and `%.*s` are the same token",
                                   SPAN_ARG(c->admin.tokens[j].name), SPAN_ARG(t->name));
        }
        const tree_t *sites = reader_child(node, "sites"), *site = sites != NULL ? sites->first : NULL;
        for (size_t j = 0; j < t->sites_n && site != NULL; j++, site = site->next) {
            span_t pattern = t->sites[j];
            span_t probe = span_starts(pattern, SPAN("*.")) ? span_from(pattern, 1) : pattern;
            bool known = span_eq(pattern, SPAN("*"));
            for (size_t k = 0; k < c->sites_n && !known; k++)
                for (size_t h = 0; h < c->sites[k].hosts_n && !known; h++)
                    known = span_eq(c->sites[k].hosts[h], pattern) ||
                            conf_host_matches(&c->sites[k].hosts[h], 1,
                                              span_starts(probe, SPAN(".")) ? span_from(probe, 1) : probe);
            if (!known)
                reader_warn(r, site, "no site answers for `%.*s`, so token `%.*s` can do nothing there",
                            SPAN_ARG(pattern), SPAN_ARG(t->name));
        }
    }
    if (c->admin.certificates_n == 0 && c->admin.client_ca.p != NULL)
        return reader_fail(r, ERR_SYNTAX, reader_child(admin, "client_ca"),
                           "client_ca needs certificates: without TLS there are no client certificates");
    if (c->admin.present && c->admin.tokens_n == 0 && !validate_loopback(&c->admin.address))
        reader_warn(
            r, reader_child(admin, "address"),
            "without tokens the admin API answers this machine only; add admin.tokens to use it from elsewhere");
    return true;
}

/* ---- sites ---- */
/* A default port is no part of a host's name: two sites that differ by it would share their keys. */
static bool validate_ports(conf_reader_t *r, const tree_t *root)
{
    static const span_t defaults[] = {{":80", 3}, {":443", 4}};
    const conf_t *c = &r->snapshot->pub;
    const tree_t *node = reader_child(root, "sites")->first;
    for (size_t i = 0; i < c->sites_n; i++, node = node->next)
        for (size_t h = 0; h < c->sites[i].hosts_n; h++)
            for (size_t d = 0; d < sizeof defaults / sizeof *defaults; d++) {
                span_t pattern = c->sites[i].hosts[h], name = span_upto(pattern, pattern.n - defaults[d].n);
                if (!span_ends(pattern, defaults[d]))
                    continue;
                const conf_site_t *other = conf_site_for(c, name);
                if (other != NULL && other != &c->sites[i])
                    return reader_fail(r, ERR_EXISTS, reader_child(node, "hosts"),
                                       "host `%.*s` is `%.*s` with a default port, for which another site answers: "
                                       "their responses would be kept as one",
                                       SPAN_ARG(pattern), SPAN_ARG(name));
            }
    return true;
}

static bool validate_hosts(conf_reader_t *r, const tree_t *root)
{
    conf_snapshot_t *snap = r->snapshot;
    size_t total = 0, slots = 8;
    for (size_t i = 0; i < snap->pub.sites_n; i++)
        total += snap->pub.sites[i].hosts_n;
    while (slots < total * 2)
        slots *= 2;
    snap->hosts = arena_zalloc(r->arena, slots * sizeof *snap->hosts);
    if (snap->hosts == NULL)
        return reader_fail(r, ERR_NO_MEMORY, root, "out of memory");
    snap->hosts_mask = slots - 1;
    const tree_t *node = reader_child(root, "sites")->first;
    for (size_t i = 0; i < snap->pub.sites_n; i++, node = node->next) {
        conf_site_t *site = (conf_site_t *)&snap->pub.sites[i];
        const tree_t *hosts = reader_child(node, "hosts"), *place = hosts != NULL ? hosts->first : NULL;
        site->index = i;
        site->name = site->hosts[0];
        for (size_t h = 0; h < site->hosts_n; h++, place = place != NULL ? place->next : NULL) {
            span_t pattern = site->hosts[h];
            size_t at = hash_64(pattern, 0) & snap->hosts_mask;
            for (; snap->hosts[at].pattern.p != NULL; at = (at + 1) & snap->hosts_mask)
                if (span_eq(snap->hosts[at].pattern, pattern))
                    return reader_fail(r, ERR_EXISTS, place != NULL ? place : node,
                                       "host `%.*s` stands there twice: a host belongs to one site", SPAN_ARG(pattern));
            snap->hosts[at] = (conf_host_t){.pattern = pattern, .site = site};
            if (span_eq(pattern, SPAN("*")))
                snap->any = site;
            else if (span_starts(pattern, SPAN("*.")) && pattern.n > snap->wildcard_most)
                snap->wildcard_most = pattern.n;
        }
    }
    return true;
}

/* Is all that `b` sets set by `a`? */
static bool validate_sets(const conf_rule_t *a, const conf_rule_t *b)
{
    const msec_t by[] = {a->values.ttl, a->values.override_ttl, a->values.stale_while_revalidate,
                         a->values.stale_if_error},
                 of[] = {b->values.ttl, b->values.override_ttl, b->values.stale_while_revalidate,
                         b->values.stale_if_error};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (of[i] != RULES_UNSET && by[i] == RULES_UNSET)
            return false;
    return (b->cache < 0 || a->cache >= 0) && (b->override_private < 0 || a->override_private >= 0) &&
           (b->must_sign < 0 || a->must_sign >= 0);
}

/* The first match wins: does an earlier rule leave this one anything to say? */
static void validate_order(conf_reader_t *r, const tree_t *node, const conf_site_t *site, size_t i)
{
    const conf_rule_t *it = &site->rules[i];
    for (size_t j = 0; j < i; j++) {
        const conf_rule_t *before = &site->rules[j];
        bool same = span_eq(before->glob.text, it->glob.text);
        if (!glob_covers(&before->glob, &it->glob) || (!same && !validate_sets(before, it)))
            continue;
        if (same)
            reader_warn(r, reader_child(node, "path"), "path `%.*s` has an earlier rule, which decides what both set",
                        SPAN_ARG(it->glob.text));
        else if (node->n > 1)
            reader_warn(r, reader_child(node, "path"),
                        "this rule never decides: `%.*s` stands before it, matches all that it does and sets the same; "
                        "write the more particular one first",
                        SPAN_ARG(before->glob.text));
        return;
    }
}

static bool validate_rules(conf_reader_t *r, const tree_t *node, const conf_site_t *site)
{
    const tree_t *rules = reader_child(node, "rules"), *rule = rules != NULL ? rules->first : NULL;
    for (size_t i = 0; i < site->rules_n && rule != NULL; i++, rule = rule->next) {
        conf_rule_t *it = (conf_rule_t *)&site->rules[i];
        if (it->override_private == 1)
            reader_warn(
                r, reader_child(rule, "override_private"),
                "override_private shows one visitor's responses to others unless all of %.*s is the same for everybody",
                SPAN_ARG(it->glob.text));
        if (it->override_private == 1 && it->values.override_ttl == RULES_UNSET)
            reader_warn(r, reader_child(rule, "override_private"),
                        "override_private does nothing without override_ttl");
        if (it->must_sign == 1 && site->access.secret.p == NULL)
            return reader_fail(r, ERR_SYNTAX, reader_child(rule, "signed"),
                               "`signed` needs the site's access.secret_file to verify signatures with. Make one with: "
                               "openssl rand -hex 32 > FILE");
        validate_order(r, rule, site, i);
        if (rule->n == 1)
            reader_warn(r, rule, "a rule that sets nothing");
    }
    return true;
}

static bool validate_self(const conf_t *c, const conf_origin_t *o)
{
    for (size_t i = 0; i < c->listeners_n; i++) {
        const conf_address_t *a = &c->listeners[i].address;
        if (a->kind == CONF_UNIX ? span_eq(a->path, o->unix_path) : o->port == a->port && span_eq(a->host, o->host))
            return true;
    }
    return false;
}

/* A certificate is of no use without its key, and neither without TLS. */
static bool validate_client_certificate(conf_reader_t *r, const tree_t *node, span_t certificate, span_t key,
                                        bool https)
{
    const tree_t *at = reader_child(node, certificate.p != NULL ? "client_certificate" : "client_key");
    if ((certificate.p != NULL) != (key.p != NULL))
        return reader_fail(r, ERR_SYNTAX, at, "client_certificate and client_key belong together: write both");
    if (certificate.p != NULL && !https)
        reader_warn(r, at, "client_certificate does nothing without an https server");
    return true;
}

static bool validate_sites(conf_reader_t *r, const tree_t *root)
{
    const conf_t *c = &r->snapshot->pub;
    const tree_t *node = reader_child(root, "sites")->first;
    bool needed = !c->shield.present || c->shield.fallback == CONF_FALLBACK_ORIGIN;
    for (size_t i = 0; i < c->sites_n; i++, node = node->next) {
        const conf_site_t *site = &c->sites[i];
        const tree_t *origins = reader_child(node, "origins"), *origin = origins != NULL ? origins->first : NULL;
        bool https = false, first = false;
        if (site->origins_n == 0 && needed)
            return reader_fail(r, ERR_SYNTAX, node,
                               "sites[]: `origins` is missing: the URLs of the servers that brink stands in front of");
        for (size_t j = 0; j < site->origins_n && origin != NULL; j++, origin = origin->next) {
            https |= site->origins[j].https;
            first |= !site->origins[j].backup;
            if (validate_self(c, &site->origins[j]))
                return reader_fail(r, ERR_REFUSED, origin,
                                   "%.*s is this node's own listener: requests would go round in circles",
                                   SPAN_ARG(site->origins[j].url));
        }
        if (site->origins_n > 0 && !first)
            return reader_fail(r, ERR_REFUSED, origins,
                               "all origins are `backup`: at least one must be there to be backed up");
        if (site->ca.p != NULL && !https)
            reader_warn(r, reader_child(node, "ca"), "ca does nothing without an https origin");
        if (!validate_client_certificate(r, node, site->client_certificate, site->client_key, https))
            return false;
        if (!validate_rules(r, node, site))
            return false;
    }
    const tree_t *shield = reader_child(root, "shield"), *nodes = reader_child(shield, "nodes"),
                 *place = nodes != NULL ? nodes->first : NULL;
    bool https = false;
    for (size_t i = 0; i < c->shield.nodes_n && place != NULL; i++, place = place->next) {
        https |= c->shield.nodes[i].https;
        if (validate_self(c, &c->shield.nodes[i]))
            return reader_fail(r, ERR_REFUSED, place,
                               "%.*s is this node's own listener: a node can't be its own shield",
                               SPAN_ARG(c->shield.nodes[i].url));
    }
    if (c->shield.ca.p != NULL && !https)
        reader_warn(r, reader_child(shield, "ca"), "ca does nothing without an https node");
    return !c->shield.present ||
           validate_client_certificate(r, shield, c->shield.client_certificate, c->shield.client_key, https);
}

/* ---- upstreams ---- */
static int validate_by_url(const void *a, const void *b)
{
    span_t x = (*(conf_origin_t *const *)a)->url, y = (*(conf_origin_t *const *)b)->url;
    int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return c != 0 ? c : x.n < y.n ? -1 : x.n > y.n;
}

static bool validate_upstreams(conf_reader_t *r, const tree_t *root)
{
    conf_t *c = &r->snapshot->pub;
    size_t total = c->shield.nodes_n, n = 0;
    for (size_t i = 0; i < c->sites_n; i++)
        total += c->sites[i].origins_n;
    conf_origin_t **all = arena_alloc(r->arena, (total + 1) * sizeof(conf_origin_t *));
    if (all == NULL)
        return reader_fail(r, ERR_NO_MEMORY, root, "out of memory");
    for (size_t i = 0; i < c->shield.nodes_n; i++)
        all[n++] = (conf_origin_t *)&c->shield.nodes[i];
    for (size_t i = 0; i < c->sites_n; i++)
        for (size_t j = 0; j < c->sites[i].origins_n; j++)
            all[n++] = (conf_origin_t *)&c->sites[i].origins[j];
    if (n > 0)
        qsort(all, n, sizeof *all, validate_by_url);
    for (size_t i = 0; i < n; i++) {
        bool again = c->upstreams_n > 0 && span_eq(all[c->upstreams_n - 1]->url, all[i]->url);
        all[i]->index = again ? c->upstreams_n - 1 : c->upstreams_n;
        if (!again)
            all[c->upstreams_n++] = all[i];
    }
    c->upstreams = (const conf_origin_t *const *)all;
    return true;
}

/* A server is asked once, however many sites name it. */
static void validate_probes(conf_reader_t *r, const tree_t *root)
{
    const conf_t *c = &r->snapshot->pub;
    const conf_probe_t **asks = arena_zalloc(r->scratch, (c->upstreams_n + 1) * sizeof *asks);
    const tree_t *node = reader_child(root, "sites")->first;
    for (size_t i = 0; i < c->sites_n && asks != NULL; i++, node = node->next)
        for (size_t j = 0; j < c->sites[i].origins_n && c->sites[i].probe.present; j++) {
            const conf_origin_t *o = &c->sites[i].origins[j];
            const conf_probe_t *mine = &c->sites[i].probe, **first = &asks[o->index];
            if (*first == NULL)
                *first = mine;
            else if (!span_eq((*first)->path, mine->path) || !span_eq((*first)->host, mine->host) ||
                     (*first)->status != mine->status || (*first)->interval != mine->interval)
                reader_warn(r, reader_child(node, "probe"),
                            "%.*s is probed as an earlier site says: a server is asked in one way only",
                            SPAN_ARG(o->url));
        }
}

static void validate_purge(conf_reader_t *r, const tree_t *root)
{
    static const char *const with_redis[] = {"stream", "channel", "keep", "start_without_redis", "max_disconnected"};
    const tree_t *purge = reader_child(root, "purge");
    if (r->snapshot->pub.purge.redis.kind != CONF_REDIS_NONE)
        return;
    for (size_t i = 0; i < sizeof with_redis / sizeof *with_redis; i++)
        if (reader_child(purge, with_redis[i]) != NULL)
            reader_warn(r, reader_child(purge, with_redis[i]), "purge.%s does nothing without purge.redis",
                        with_redis[i]);
}

static void validate_limits(conf_reader_t *r, const tree_t *root)
{
    conf_limits_t *l = &r->snapshot->pub.limits;
    if (l->connections_per_address == 0)
        l->connections_per_address = (l->connections + 3) / 4;
    if (l->connections_per_address > l->connections)
        reader_warn(r, reader_child(reader_child(root, "limits"), "connections_per_address"),
                    "connections_per_address is above connections, so it does nothing");
}

bool validate_all(conf_reader_t *r, const tree_t *root)
{
    conf_t *c = &r->snapshot->pub;
    if (!validate_memory(r, root) || !validate_listeners(r, root) || !validate_hosts(r, root) ||
        !validate_ports(r, root) || !validate_sites(r, root) || !validate_admin(r, root) || !validate_upstreams(r, root))
        return false;
    validate_probes(r, root);
    validate_purge(r, root);
    validate_limits(r, root);
    if (c->disk.present && span_eq(c->disk.path, c->state))
        return reader_fail(
            r, ERR_EXISTS, reader_child(reader_child(root, "disk"), "path"),
            "`path` is the state directory, too: the cache may be emptied at any time, the purge ledger may not");
    if (c->log.format == CONF_FORMAT_OFF) {
        c->log.access = CONF_LOG_OFF;
        c->log.format = CONF_FORMAT_JSON;
    }
    c->warnings = r->warnings;
    c->warnings_n = r->warnings_n;
    return true;
}
