/* From the configuration's structures to those of each part, so that no part needs to know what a configuration is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/upstream_tls.h"
#include "edge/http/fields.h"
#include "edge/node_priv.h"
#include "edge/privilege.h"
#include "edge/tbl/metrics.h"

char *node_cstr(arena_t *a, span_t s)
{
    return (char *)arena_copy(a, s).p;
}

unsigned node_workers(const conf_t *conf)
{
    if (conf->workers > 0)
        return conf->workers;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > CONF_MAX_WORKERS ? CONF_MAX_WORKERS : (unsigned)n;
}

/* What the configuration counts for the node is counted by each worker, or by a table of all. */
static void node_limits(const conf_t *conf, unsigned workers, serve_limits_t *out)
{
    const conf_limits_t *l = &conf->limits;
    serve_limits_default(out);
    out->connections = (l->connections + workers - 1) / workers;
    out->connections_per_address = l->connections_per_address;
    out->handshakes = l->handshakes;
    out->handshake_timeout = l->handshake_timeout;
    out->header_timeout = l->header_timeout;
    out->body_timeout = l->body_timeout;
    out->idle_timeout = l->idle_timeout;
    out->write_timeout = l->write_timeout;
    out->header_bytes = l->header_bytes + (conf->tier.present ? FIELDS_MAX_ADDED_BYTES : 0);
    out->header_count = l->header_count + (conf->tier.present ? FIELDS_MAX_ADDED : 0);
    out->target_bytes = l->target_bytes;
    out->head_bytes = (l->header_memory + workers - 1) / workers;
    out->body_bytes = (l->body_memory + workers - 1) / workers;
    out->flood_budget = l->idle_frames;
    out->reset_budget = l->resets;
    out->continuations = l->continuations;
}

static const char *node_file(arena_t *a, span_t name)
{
    return name.p != NULL ? node_cstr(a, name) : NULL;
}

static const serve_certificate_t *node_certificates(arena_t *a, const conf_certificate_t *v, size_t n)
{
    serve_certificate_t *out = arena_zalloc(a, (n + 1) * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = (serve_certificate_t){.certificate = node_cstr(a, v[i].certificate),
                                       .key = node_cstr(a, v[i].key),
                                       .ocsp = node_file(a, v[i].ocsp)};
    return out;
}

err_t node_serve_options(const conf_t *conf, unsigned workers, const node_inherited_t *inherited, serve_options_t *out,
                         arena_t *a)
{
    size_t n = conf->listeners_n + (conf->admin.present ? 1 : 0);
    serve_listen_t *listens = arena_zalloc(a, (n + 1) * sizeof *listens);
    *out = (serve_options_t){.listens = listens, .listen_count = n, .workers = workers};
    for (size_t i = 0; i < conf->listeners_n; i++) {
        const conf_listener_t *l = &conf->listeners[i];
        listens[i] = (serve_listen_t){.address = node_cstr(a, l->address.text),
                                      .id = WORKER_LISTEN_TRAFFIC,
                                      .proxy_protocol = l->proxy_protocol,
                                      .proxy_from = l->proxy_from,
                                      .proxy_from_n = l->proxy_from_n,
                                      .certificates = node_certificates(a, l->certificates, l->certificates_n),
                                      .certificate_count = l->certificates_n,
                                      .client_ca = node_file(a, l->client_ca)};
    }
    if (conf->admin.present)
        listens[n - 1] =
            (serve_listen_t){.address = node_cstr(a, conf->admin.address.text),
                             .id = WORKER_LISTEN_ADMIN,
                             .certificates = node_certificates(a, conf->admin.certificates, conf->admin.certificates_n),
                             .certificate_count = conf->admin.certificates_n,
                             .client_ca = node_file(a, conf->admin.client_ca)};
    out->ticket_secret = conf->tls.ticket_secret;
    node_limits(conf, workers, &out->limits);
    for (size_t i = 0; i < conf->sites_n; i++)
        if (conf->sites[i].max_body > out->limits.max_body)
            out->limits.max_body = conf->sites[i].max_body;
    if (inherited != NULL) {
        out->inherited = inherited->sockets;
        out->inherited_count = inherited->n;
    }
    return ERR_OK;
}

err_t node_check_upstreams(const conf_t *conf, char *err)
{
    err_t e = upstream_tls_check(conf->shield.ca, conf->shield.client_certificate, conf->shield.client_key, err,
                                 NODE_ERROR_MAX);
    for (size_t i = 0; i < conf->sites_n && e == ERR_OK; i++) {
        const conf_site_t *s = &conf->sites[i];
        e = upstream_tls_check(s->ca, s->client_certificate, s->client_key, err, NODE_ERROR_MAX);
    }
    return e;
}

static int node_check_writable(const char *folder)
{
    struct stat st;
    return stat(folder, &st) != 0                 ? errno
           : !S_ISDIR(st.st_mode)                 ? ENOTDIR
           : access(folder, W_OK | X_OK) != 0 ? errno
                                                  : 0;
}

/* A folder that is made where it is missing, with those above it: can it be? */
static err_t node_check_folder(const char *what, span_t path, arena_t *a, char *err)
{
    char *folder = node_cstr(a, path);
    int error;
    while ((error = node_check_writable(folder)) == ENOENT && strcmp(folder, ".") != 0) {
        char *slash = strrchr(folder, '/');
        if (slash == NULL)
            folder = node_cstr(a, SPAN("."));
        else
            slash[slash == folder ? 1 : 0] = '\0';
    }
    if (error != 0)
        snprintf(err, NODE_ERROR_MAX, "%s %.*s can't be written: %s: %s", what, SPAN_ARG(path), folder, strerror(error));
    return error == 0 ? ERR_OK : ERR_IO;
}

/* A file that is made where it is missing, though not its folder. */
static err_t node_check_log(span_t path, arena_t *a, char *err)
{
    char *file = node_cstr(a, path), *slash = strrchr(file, '/');
    struct stat st;
    int error = 0;
    if (stat(file, &st) == 0) {
        error = S_ISDIR(st.st_mode) ? EISDIR : access(file, W_OK) != 0 ? errno : 0;
    } else {
        if (slash != NULL)
            slash[slash == file ? 1 : 0] = '\0';
        error = node_check_writable(slash != NULL ? file : ".");
    }
    if (error != 0)
        snprintf(err, NODE_ERROR_MAX, "log.access: %.*s can't be opened: %s", SPAN_ARG(path), strerror(error));
    return error == 0 ? ERR_OK : ERR_IO;
}

/* What a start would write: nothing is made here. The user that a node changes to gets its folders from it, so who
 * starts it is asked. */
static err_t node_check_places(const conf_t *conf, arena_t *a, char *err)
{
    err_t e = node_check_folder("state", conf->state, a, err);
    if (e == ERR_OK && conf->disk.present)
        e = node_check_folder("disk", conf->disk.path, a, err);
    if (e == ERR_OK && conf->log.access == CONF_LOG_FILE)
        e = node_check_log(conf->log.path, a, err);
    return e;
}

err_t node_check(const conf_t *conf, char *err)
{
    arena_t a;
    serve_options_t serve;
    arena_init(&a, 0);
    err_t e = node_serve_options(conf, node_workers(conf), NULL, &serve, &a);
    if (e == ERR_OK)
        e = serve_check(&serve, err, NODE_ERROR_MAX);
    if (e == ERR_OK)
        e = node_check_upstreams(conf, err);
    if (e == ERR_OK && conf->user.p != NULL)
        e = privilege_known(conf->user, err, NODE_ERROR_MAX);
    if (e == ERR_OK)
        e = node_check_places(conf, &a, err);
    arena_release(&a);
    return e;
}

void node_redis(const conf_t *conf, purge_server_t *out, arena_t *a)
{
    const conf_redis_t *r = &conf->purge.redis;
    static const int kinds[] = {PURGE_SERVER_NONE, PURGE_SERVER_TCP, PURGE_SERVER_UNIX, PURGE_SERVER_SENTINEL};
    *out = (purge_server_t){.db = r->db};
    out->kind = kinds[r->kind];
    if (r->kind == CONF_REDIS_NONE)
        return;
    out->shown = node_cstr(a, r->shown);
    for (size_t i = 0; i < r->hosts_n && i < PURGE_SENTINELS_MAX; i++) {
        out->hosts[i].host = node_cstr(a, r->hosts[i].host);
        out->hosts[i].port = r->hosts[i].port;
        out->hosts_n = i + 1;
    }
    out->path = r->unix_path.p != NULL ? node_cstr(a, r->unix_path) : NULL;
    out->user = r->user.p != NULL ? node_cstr(a, r->user) : NULL;
    out->password = r->password.p != NULL ? node_cstr(a, r->password) : NULL;
    out->master = r->master.p != NULL ? node_cstr(a, r->master) : NULL;
}

/* Words are registered once and keep their numbers. The arrays live as long as the node, since requests and fetches
 * that began under an older configuration still count by it: a reload adds a few bytes. */
void node_labels(node_t *n, const conf_t *conf, worker_conf_t *out)
{
    node_labels_t *l = mem_zalloc(sizeof *l + (2 * conf->sites_n + conf->upstreams_n) * sizeof(unsigned));
    unsigned *sites = l->numbers, *ups = l->numbers + conf->sites_n;
    for (size_t i = 0; i < conf->sites_n; i++)
        sites[i] = metrics_label_register(METRIC_DIM_SITE, conf->sites[i].name);
    for (size_t i = 0; i < conf->upstreams_n; i++)
        ups[i] = metrics_label_register(METRIC_DIM_UPSTREAM, conf->upstreams[i]->url);
    l->next = n->labels;
    n->labels = l;
    out->site_labels = sites;
    out->upstream_labels = ups;
    out->refreshing = (_Atomic uint32_t *)(ups + conf->upstreams_n);
}

upstreams_t *node_upstreams(node_t *n)
{
    pthread_mutex_lock(&n->mutex);
    upstreams_t *u = upstreams_ref(n->upstreams);
    pthread_mutex_unlock(&n->mutex);
    return u;
}

/* A URL selector by the key rules of its site. */
err_t node_normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest)
{
    static const key_rules_t plain = {.query = KEY_QUERY_ALL};
    node_t *n = ctx;
    upstreams_t *u = node_upstreams(n);
    span_t host = url;
    size_t at = 0;
    while (at + 2 < url.n && memcmp(url.p + at, "://", 3) != 0)
        at++;
    if (at + 3 < url.n)
        host = span_from(url, at + 3);
    size_t end = 0;
    while (end < host.n && host.p[end] != '/' && host.p[end] != '?' && host.p[end] != '#')
        end++;
    const conf_site_t *site = conf_site_for(upstreams_conf(u), span_upto(host, end));
    err_t err = key_from_url(a, url, site != NULL ? &site->key : &plain, uri, uri_digest);
    upstreams_unref(u);
    return err;
}
