/* A snapshot from a file, and the questions that requests ask of it. Sites are found by hash: the whole host first,
 * then the host without its port, then its suffixes from the longest, so the most exact pattern wins and a lookup costs
 * as many probes as the host has dots. */
#include "edge/conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/hash.h"
#include "edge/base/mem.h"
#include "edge/conf/conf_priv.h"

static uint32_t conf_cpus(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > CONF_MAX_WORKERS ? CONF_MAX_WORKERS : (uint32_t)n;
}

/* The host's name is the node's unless it can't be one. */
static span_t conf_host_name(arena_t *a)
{
    char name[65] = "";
    if (gethostname(name, sizeof name - 1) != 0)
        name[0] = '\0';
    for (char *c = name; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("\"\\,;/", *c) != NULL)
            *c = '-';
    return arena_copy(a, span_str(name[0] != '\0' ? name : "brink"));
}

static void conf_free(conf_snapshot_t *s)
{
    arena_release(&s->arena);
    free(s);
}

err_t conf_parse(span_t bytes, const char *name, conf_t **out, conf_error_t *err)
{
    *out = NULL;
    *err = (conf_error_t){.line = 0};
    snprintf(err->file, sizeof err->file, "%s", name);
    conf_snapshot_t *snap = mem_zalloc(sizeof *snap);
    atomic_init(&snap->refs, 1);
    arena_init(&snap->arena, 0);
    arena_t scratch;
    arena_init(&scratch, 0);
    const char *slash = strrchr(name, '/');
    conf_reader_t r = {.snapshot = snap,
                       .arena = &snap->arena,
                       .scratch = &scratch,
                       .dir = slash != NULL ? span_of(name, (size_t)(slash - name) + 1) : SPAN(""),
                       .err = err};
    tree_t *root = NULL;
    err_t code = tree_parse(&scratch, bytes, &root, err);
    if (code == ERR_OK) {
        conf_t *c = &snap->pub;
        if (reader_section(&r, &conf_sections[SECTION_root], root, (char *)c)) {
            c->file = arena_copy(&snap->arena, span_str(name));
            if (c->node.p == NULL)
                c->node = conf_host_name(&snap->arena);
            if (c->workers == 0)
                c->workers = conf_cpus();
            validate_all(&r, root);
        }
        code = r.code;
    }
    arena_release(&scratch);
    if (code != ERR_OK) {
        conf_free(snap);
        return code;
    }
    *out = &snap->pub;
    return ERR_OK;
}

err_t conf_load(const char *path, conf_t **out, conf_error_t *err)
{
    *out = NULL;
    *err = (conf_error_t){.line = 0};
    snprintf(err->file, sizeof err->file, "%s", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        snprintf(err->message, sizeof err->message, "can't be read: %s", strerror(errno));
        return ERR_IO;
    }
    size_t n = 0, cap = 16384;
    char *bytes = mem_alloc(cap);
    ssize_t got;
    while ((got = read(fd, bytes + n, cap - n)) > 0 || (got < 0 && errno == EINTR)) {
        n += got > 0 ? (size_t)got : 0;
        if (n > CONF_MAX_BYTES)
            break; /* tree_parse says so */
        if (n == cap)
            bytes = mem_realloc(bytes, cap *= 2);
    }
    err_t code = ERR_IO;
    if (got < 0)
        snprintf(err->message, sizeof err->message, "can't be read: %s", strerror(errno));
    else
        code = conf_parse(span_of(bytes, n), path, out, err);
    close(fd);
    free(bytes);
    return code;
}

const char *conf_error_text(const conf_error_t *err, char *buf, size_t n)
{
    if (err->line > 0)
        snprintf(buf, n, "%s:%d:%d: %s", err->file, err->line, err->column, err->message);
    else
        snprintf(buf, n, "%s: %s", err->file, err->message);
    return buf;
}

static conf_snapshot_t *conf_snapshot(const conf_t *c)
{
    return CONTAINER_OF((conf_t *)c, conf_snapshot_t, pub);
}

conf_t *conf_ref(const conf_t *c)
{
    unsigned before = atomic_fetch_add_explicit(&conf_snapshot(c)->refs, 1, memory_order_relaxed);
    CHECK(before > 0 && before < UINT32_MAX / 2);
    return (conf_t *)c;
}

void conf_unref(const conf_t *c)
{
    if (c == NULL)
        return;
    unsigned before = atomic_fetch_sub_explicit(&conf_snapshot(c)->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1)
        conf_free(conf_snapshot(c));
}

/* ---- sites by host ---- */
static span_t conf_without_port(span_t host)
{
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] >= '0' && host.p[at - 1] <= '9')
        at--;
    if (at == 0 || host.p[at - 1] != ':')
        return host;
    span_t name = span_upto(host, at - 1);
    bool v6 = name.n > 0 && name.p[0] == '[';
    return v6 && name.p[name.n - 1] != ']' ? host : name;
}

enum { CONF_MAX_HOST = 512 };

/* Lower case and without the trailing dot, so that a host needs no preparation; .p NULL when it is too long for any
 * pattern. */
static span_t conf_lower_host(span_t host, char buf[CONF_MAX_HOST])
{
    if (host.n == 0 || host.n > CONF_MAX_HOST)
        return SPAN_NONE;
    for (size_t i = 0; i < host.n; i++)
        buf[i] = span_lower(host.p[i]);
    return span_of(buf, host.n);
}

static span_t conf_without_dot(span_t name)
{
    return name.n > 1 && name.p[name.n - 1] == '.' ? span_upto(name, name.n - 1) : name;
}

static const conf_site_t *conf_probe(const conf_snapshot_t *s, span_t pattern)
{
    for (size_t at = hash_64(pattern, 0) & s->hosts_mask; s->hosts[at].pattern.p != NULL; at = (at + 1) & s->hosts_mask)
        if (span_eq(s->hosts[at].pattern, pattern))
            return s->hosts[at].site;
    return NULL;
}

const conf_site_t *conf_site_for(const conf_t *c, span_t host)
{
    const conf_snapshot_t *s = conf_snapshot(c);
    char buf[CONF_MAX_HOST];
    span_t whole = conf_lower_host(host, buf);
    if (whole.p == NULL)
        return s->any;
    const conf_site_t *site = conf_probe(s, whole);
    span_t name = conf_without_dot(conf_without_port(whole));
    if (site == NULL && name.n != whole.n)
        site = conf_probe(s, name);
    /* In place, "www.example.com" becomes "*.example.com": one byte is written before each suffix. */
    for (size_t dot = span_find(name, '.'); site == NULL && dot < name.n;
         dot += 1 + span_find(span_from(name, dot + 1), '.')) {
        if (dot == 0 || name.n - dot + 1 > s->wildcard_most)
            continue;
        char kept = buf[dot - 1];
        buf[dot - 1] = '*';
        site = conf_probe(s, span_of(buf + dot - 1, name.n - dot + 1));
        buf[dot - 1] = kept;
    }
    return site != NULL ? site : s->any;
}

bool conf_host_matches(const span_t *patterns, size_t n, span_t host)
{
    char buf[CONF_MAX_HOST];
    span_t whole = conf_lower_host(host, buf);
    span_t name = conf_without_dot(conf_without_port(whole));
    for (size_t i = 0; i < n; i++) {
        if (span_eq(patterns[i], SPAN("*")))
            return true;
        if (whole.p == NULL)
            continue;
        if (span_eq(patterns[i], whole) || span_eq(patterns[i], name))
            return true;
        span_t suffix = span_from(patterns[i], 1);
        if (span_starts(patterns[i], SPAN("*.")) && name.n > suffix.n && span_ends(name, suffix))
            return true;
    }
    return false;
}

/* ---- rules by path ---- */
rules_t conf_rules_for(const conf_site_t *site, span_t path)
{
    rules_t out = RULES_DEFAULT;
    int cache = -1, override_private = -1, must_sign = -1;
    for (size_t i = 0; i < site->rules_n; i++) {
        const conf_rule_t *rule = &site->rules[i];
        if (!glob_match(&rule->glob, path))
            continue;
        if (out.ttl == RULES_UNSET)
            out.ttl = rule->values.ttl;
        if (out.override_ttl == RULES_UNSET)
            out.override_ttl = rule->values.override_ttl;
        if (out.stale_while_revalidate == RULES_UNSET)
            out.stale_while_revalidate = rule->values.stale_while_revalidate;
        if (out.stale_if_error == RULES_UNSET)
            out.stale_if_error = rule->values.stale_if_error;
        if (cache < 0)
            cache = rule->cache;
        if (override_private < 0)
            override_private = rule->override_private;
        if (must_sign < 0)
            must_sign = rule->must_sign;
    }
    out.cache = cache != 0;
    out.override_private = override_private == 1;
    out.must_sign = must_sign == 1;
    return out;
}

bool conf_rule_matches(const conf_site_t *site, size_t i, span_t path, conf_rule_view_t *out)
{
    const conf_rule_t *r = &site->rules[i];
    *out = (conf_rule_view_t){.path = r->glob.text,
                              .values = r->values,
                              .cache = r->cache,
                              .override_private = r->override_private,
                              .must_sign = r->must_sign};
    return glob_match(&r->glob, path);
}
