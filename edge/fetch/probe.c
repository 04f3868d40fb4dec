/* A timer a server: ask, wait for the answer, tell, wait for the interval. The first probes are spread over an
 * interval, so that a node doesn't ask everybody at once. The bodies of answers are read, up to a ceiling, so that the
 * connection can be used again. */
#include "edge/fetch/probe.h"

#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/tbl/metrics.h"

enum { PROBE_BODY_MOST = 64 * 1024 };

typedef struct probe_server {
    probe_t *owner;
    const conf_probe_t *how; /* NULL: isn't asked */
    const conf_site_t *site; /* NULL: a shield node */
    const conf_origin_t *server;
    loop_timer_t timer;
    upstream_call_t *call;
    int status;
    size_t body;
} probe_server_t;

struct probe {
    loop_t *loop;
    upstream_t *client;
    upstreams_t *upstreams;
    size_t n;
    probe_server_t *servers; /* by conf_origin_t.index */
};

static void probe_tell(probe_server_t *s, bool well)
{
    probe_t *p = s->owner;
    msec_t boot = p->loop->now.boot, patience = 2 * s->how->interval + s->how->timeout;
    s->call = NULL;
    metrics_add2(METRIC_PROBES, metrics_label_register(METRIC_DIM_UPSTREAM, s->server->url),
                 well ? LABEL_OUTCOME_OK : LABEL_OUTCOME_FAILED, 1);
    health_probed(health_at(upstreams_health(p->upstreams), s->server->index), well, patience, boot);
    loop_timer_start(p->loop, &s->timer, s->how->interval);
}

static void probe_on_head(void *arg, int status, const fields_t *fields, int64_t content_length)
{
    (void)fields, (void)content_length;
    ((probe_server_t *)arg)->status = status;
}

static bool probe_on_body(void *arg, span_t bytes)
{
    probe_server_t *s = arg;
    s->body += bytes.n;
    if (s->body > PROBE_BODY_MOST) {
        s->owner->client->ops->cancel(s->call);
        probe_tell(s, s->status == (int)s->how->status);
    }
    return true;
}

static void probe_on_done(void *arg, upstream_result_t result)
{
    probe_server_t *s = arg;
    if (result == UPSTREAM_ABANDONED)
        s->call = NULL;
    else
        probe_tell(s, result == UPSTREAM_OK && s->status == (int)s->how->status);
}

static const upstream_events_t probe_events = {.head = probe_on_head, .body = probe_on_body, .done = probe_on_done};

static void probe_due(loop_timer_t *t)
{
    probe_server_t *s = CONTAINER_OF(t, probe_server_t, timer);
    probe_t *p = s->owner;
    arena_t a;
    fields_t fields;
    arena_init(&a, 0);
    fields_init(&fields, &a);
    fields_add(&fields, SPAN("host"), s->how->host.n > 0 ? s->how->host : s->server->authority);
    fields_add(&fields, SPAN("user-agent"), SPAN("brink-probe"));
    upstream_request_t r = {
        .to = fetch_route_target(upstreams_conf(p->upstreams), s->server, s->site),
        .method = SPAN("GET"),
        .target = s->how->path,
        .fields = &fields,
        .connect_timeout = s->how->timeout,
        .first_byte_timeout = s->how->timeout,
        .idle_timeout = s->how->timeout,
        .total_timeout = s->how->timeout,
    };
    s->status = 0;
    s->body = 0;
    s->call = p->client->ops->start(p->client, &r, &probe_events, s);
    arena_release(&a);
}

static void probe_stop(probe_t *p)
{
    for (size_t i = 0; i < p->n; i++) {
        loop_timer_stop(p->loop, &p->servers[i].timer);
        if (p->servers[i].call != NULL)
            p->client->ops->cancel(p->servers[i].call);
    }
    free(p->servers);
    p->servers = NULL;
    p->n = 0;
    upstreams_unref(p->upstreams);
    p->upstreams = NULL;
}

static void probe_add(probe_t *p, const conf_probe_t *how, const conf_site_t *site, const conf_origin_t *servers,
                      size_t n)
{
    for (size_t i = 0; i < n && how->present; i++) {
        probe_server_t *s = &p->servers[servers[i].index];
        if (s->how != NULL)
            continue;
        s->owner = p;
        s->how = how;
        s->site = site;
        s->server = &servers[i];
        s->timer.run = probe_due;
        loop_timer_start(p->loop, &s->timer, how->interval * (msec_t)(servers[i].index + 1) / (msec_t)(p->n + 1));
    }
}

probe_t *probe_new(loop_t *loop, upstream_t *client)
{
    probe_t *p = mem_zalloc(sizeof *p);
    p->loop = loop;
    p->client = client;
    return p;
}

void probe_configure(probe_t *p, upstreams_t *u)
{
    const conf_t *c = upstreams_conf(u);
    upstreams_ref(u);
    probe_stop(p);
    p->upstreams = u;
    p->n = c->upstreams_n;
    p->servers = mem_zalloc((p->n + 1) * sizeof *p->servers);
    probe_add(p, &c->shield.probe, NULL, c->shield.nodes, c->shield.nodes_n);
    for (size_t i = 0; i < c->sites_n; i++)
        probe_add(p, &c->sites[i].probe, &c->sites[i], c->sites[i].origins, c->sites[i].origins_n);
}

void probe_free(probe_t *p)
{
    if (p == NULL)
        return;
    probe_stop(p);
    free(p);
}
