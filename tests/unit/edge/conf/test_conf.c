#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/conf/conf.h"
#include "edge/store/evict.h"

#define LEAST "listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ origins: ['http://127.0.0.1:3000'] }]\n"

static conf_t *parse(const char *text)
{
    conf_t *c;
    conf_error_t err;
    char buf[1200];
    err_t e = conf_parse(span_str(text), "dir/test.yaml", &c, &err);
    cr_assert_eq(e, ERR_OK, "%s", conf_error_text(&err, buf, sizeof buf));
    return c;
}

/* The message of what must fail: "LINE:COLUMN: …". */
static const char *refused(const char *text)
{
    static char buf[1200];
    conf_t *c;
    conf_error_t err;
    err_t e = conf_parse(span_str(text), "f", &c, &err);
    cr_assert_neq(e, ERR_OK, "accepted: %s", text);
    cr_assert_null(c);
    return conf_error_text(&err, buf, sizeof buf);
}

static void says(const char *text, const char *place, const char *part)
{
    const char *got = refused(text);
    cr_assert_eq(strncmp(got, place, strlen(place)), 0, "wanted %s, got %s", place, got);
    cr_assert_not_null(strstr(got, part), "wanted \"%s\" in: %s", part, got);
}

static bool warned(const conf_t *c, const char *part)
{
    for (size_t i = 0; i < c->warnings_n; i++)
        if (strstr(c->warnings[i].message.p, part) != NULL)
            return true;
    return false;
}

Test(conf, defaults)
{
    conf_t *c = parse(LEAST);
    cr_assert(c->upstream.total_timeout == MSEC_NEVER && c->upstream.http2);
    cr_assert(c->upstream.tunnel_timeout == 300000 && c->sites[0].upgrade_n == 1);
    cr_assert(span_eq(c->sites[0].upgrade[0], SPAN("websocket")));
    cr_assert_gt(c->node.n, 0);
    cr_assert_geq(c->workers, 1);
    cr_assert_str_eq(c->state.p, "./brink-state");
    cr_assert_eq(c->drain, 10000);
    cr_assert_eq(c->listeners_n, 1);
    cr_assert_eq(c->listeners[0].certificates_n, 0);
    cr_assert_not(c->listeners[0].proxy_protocol);
    cr_assert_not(c->admin.present);
    cr_assert_eq(c->memory.size, 256 << 20);
    cr_assert_eq(c->memory.max_object, 64 << 20);
    cr_assert_str_eq(evict_at(c->memory.eviction)->name, "hindsight");
    cr_assert_not(c->disk.present);
    cr_assert_not(c->shield.present);
    cr_assert_not(c->tier.present);
    cr_assert_eq(c->upstream.connect_timeout, 2000);
    cr_assert_eq(c->upstream.first_byte_timeout, 15000);
    cr_assert_eq(c->upstream.idle_timeout, 30000);
    cr_assert_eq(c->upstream.retries, 1);
    cr_assert_eq(c->purge.redis.kind, CONF_REDIS_NONE);
    cr_assert_str_eq(c->purge.stream.p, "brink:purge");
    cr_assert_str_eq(c->purge.channel.p, "cache:invalidate");
    cr_assert_eq(c->purge.keep, 7LL * 86400000);
    cr_assert_eq(c->purge.on_gap, CONF_GAP_REVALIDATE);
    cr_assert_eq(c->purge.wait_timeout, 5000);
    cr_assert_eq(c->purge.start_without_redis, 30000);
    cr_assert_eq(c->purge.max_disconnected, MSEC_NEVER);
    cr_assert_eq(c->log.access, CONF_LOG_STDOUT);
    cr_assert_eq(c->log.format, CONF_FORMAT_JSON);
    const conf_site_t *s = &c->sites[0];
    cr_assert_str_eq(s->name.p, "*");
    cr_assert_eq(s->max_body, 8 << 20);
    cr_assert_eq(s->refill, 100);
    cr_assert(s->early_refresh);
    cr_assert_not(s->server_timing);
    cr_assert_null(s->origin_host.p);
    cr_assert_null(s->ca.p);
    cr_assert_eq(s->key.query, KEY_QUERY_ALL);
    cr_assert_not(s->key.sort);
    cr_assert_eq(s->compress_n, 3);
    cr_assert_eq(s->compress[0], CODING_ZSTD);
    cr_assert_eq(s->compress[2], CODING_GZIP);
    cr_assert_eq(c->upstreams_n, 1);
    cr_assert_eq(c->warnings_n, 0);
    conf_unref(c);
}

Test(conf, everything_set)
{
    char dir[] = "/tmp/brink-conf-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tier.secret", dir);
    FILE *f = fopen(path, "w");
    fputs("0123456789abcdef0123456789abcdef\n", f);
    fclose(f);
    chmod(path, 0600);
    snprintf(path, sizeof path, "%s/brink.yaml", dir);
    f = fopen(path, "w");
    fputs("node: edge-1\nworkers: 2\nstate: /var/lib/brink\ndrain: 1m\n"
          "listen:\n"
          "  - address: 127.0.0.1:8080\n"
          "  - address: '[::1]:8443'\n"
          "    certificates:\n"
          "      - { certificate: edge.pem, key: /keys/edge.key }\n"
          "      - { certificate: b.pem, key: b.key }\n"
          "    proxy_protocol: true\n"
          "admin:\n"
          "  address: 127.0.0.1:9090\n"
          "  tokens:\n"
          "    - { name: deploy, sha256: '00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF', allow: "
          "[purge], sites: ['www.example.com'] }\n"
          "memory: { size: 1GiB, max_object: 8MiB, eviction: gdsf }\n"
          "disk: { path: cache, size: 4GiB }\n"
          "sites:\n"
          "  - hosts: ['www.example.com', '*.example.com']\n"
          "    origins: ['http://127.0.0.1:3000', 'https://origin.example.com']\n"
          "    ca: extra.pem\n"
          "    origin_host: Origin.Example.com\n"
          "    max_body: 0\n"
          "    refill: 5\n"
          "    early_refresh: off\n"
          "    server_timing: true\n"
          "    key: { query: { except: ['utm_*', gclid] }, sort: true, cookies: [lang] }\n"
          "    compress: [gzip]\n"
          "    rules:\n"
          "      - { path: '/static/**', ttl: 365d }\n"
          "  - hosts: ['*']\n"
          "    origins: ['http://127.0.0.1:3000']\n"
          "upstream: { connect_timeout: 250ms, first_byte_timeout: 5s, idle_timeout: 6s, retries: 0 }\n"
          "shield: { nodes: ['http://127.0.0.1:8090', 'http://127.0.0.1:8091'], secret_file: tier.secret, fallback: "
          "none }\n"
          "purge: { redis: 'redis://127.0.0.1:6379/0', stream: s, channel: none, keep: 1d, on_gap: flush, "
          "wait_timeout: 1s, start_without_redis: 0s, max_disconnected: 1h }\n"
          "log: { access: access.log, format: combined }\n",
          f);
    fclose(f);
    conf_t *c;
    conf_error_t err;
    cr_assert_eq(conf_load(path, &c, &err), ERR_OK, "%d:%d %s", err.line, err.column, err.message);
    cr_assert_str_eq(c->node.p, "edge-1");
    cr_assert_eq(c->workers, 2);
    cr_assert_eq(c->drain, 60000);
    const conf_certificate_t *cert = c->listeners[1].certificates;
    char want[96];
    snprintf(want, sizeof want, "%s/edge.pem", dir);
    cr_assert_str_eq(cert[0].certificate.p, want);
    cr_assert_str_eq(cert[0].key.p, "/keys/edge.key");
    cr_assert_eq(cert[1].line, 10);
    cr_assert_eq(cert[1].column, 9);
    cr_assert(c->listeners[1].proxy_protocol);
    const conf_token_t *t = &c->admin.tokens[0];
    cr_assert_eq(t->sha256[1], 0x11);
    cr_assert_eq(t->sha256[31], 0xff);
    cr_assert_eq(t->allow, CONF_ALLOW_PURGE);
    cr_assert_eq(t->sites_n, 1);
    cr_assert_eq(c->memory.max_object, 8 << 20);
    cr_assert_str_eq(evict_at(c->memory.eviction)->name, "gdsf");
    cr_assert(c->disk.present);
    snprintf(want, sizeof want, "%s/cache", dir);
    cr_assert_str_eq(c->disk.path.p, want);
    const conf_site_t *s = &c->sites[0];
    cr_assert_str_eq(s->origin_host.p, "origin.example.com");
    cr_assert_eq(s->max_body, 0);
    cr_assert_not(s->early_refresh);
    cr_assert(s->server_timing);
    cr_assert_eq(s->key.query, KEY_QUERY_EXCEPT);
    cr_assert_eq(s->key.query_names_n, 2);
    cr_assert_str_eq(s->key.query_names[0].p, "utm_*");
    cr_assert(s->key.sort);
    cr_assert_eq(s->key.cookies_n, 1);
    cr_assert_eq(s->compress_n, 1);
    cr_assert_eq(s->compress[0], CODING_GZIP);
    cr_assert_not(warned(c, "compress"));
    cr_assert_eq(c->upstream.retries, 0);
    cr_assert(c->shield.present);
    cr_assert(span_eq(c->shield.secret, SPAN("0123456789abcdef0123456789abcdef")));
    cr_assert_eq(c->shield.fallback, CONF_FALLBACK_NONE);
    cr_assert_null(c->purge.channel.p);
    cr_assert_eq(c->purge.on_gap, CONF_GAP_FLUSH);
    cr_assert_eq(c->purge.max_disconnected, 3600000);
    cr_assert_eq(c->log.access, CONF_LOG_FILE);
    cr_assert_eq(c->log.format, CONF_FORMAT_COMBINED);
    /* One index for one server, wherever it is named. */
    cr_assert_eq(c->upstreams_n, 4);
    cr_assert_eq(c->sites[0].origins[0].index, c->sites[1].origins[0].index);
    for (size_t i = 0; i < c->upstreams_n; i++)
        cr_assert_eq(c->upstreams[i]->index, i);
    conf_unref(c);
    unlink(path);
    snprintf(path, sizeof path, "%s/tier.secret", dir);
    unlink(path);
    rmdir(dir);
}

Test(conf, unknown_keys_name_the_nearest)
{
    says(LEAST "memroy: { size: 1GiB }\n", "f:3:1:", "did you mean `memory`?");
    says(LEAST "memory: { sise: 1GiB }\n", "f:3:11:", "did you mean `size`?");
    says(LEAST "memory: { Size: 1GiB }\n", "f:3:11:", "did you mean `size`?");
    says(LEAST "purge: { max_object: 1GiB }\n", "f:3:10:", "it belongs in memory");
    says(LEAST "log: { workers: 2 }\n", "f:3:8:", "it belongs at the top level");
    says(LEAST "tier: { zzzzzzzz: 2 }\n", "f:3:9:", "the keys are secret_file");
    says("listen: [{ adress: '127.0.0.1:1' }]\n", "f:1:12:", "`address`");
    says("listen:\n  - address: 127.0.0.1:80\nsites:\n  - origin: ['http://a']\n", "f:4:5:", "`origins`");
}

Test(conf, types)
{
    says("- a\n", "f:1:1:", "must be a mapping");
    says("", "f:", "is empty");
    says("# nothing\n", "f:", "is empty");
    says("listen: 127.0.0.1:80\n", "f:1:9:", "must be a list");
    says("listen: [127.0.0.1:80]\n", "f:1:10:", "listen[] must be a mapping");
    says("listen: []\nsites: []\n", "f:1:9:", "at least 1");
    says(LEAST "workers: [2]\n", "f:3:10:", "single value");
    says(LEAST "workers: two\n", "f:3:10:", "no whole number");
    says(LEAST "workers: 0\n", "f:3:10:", "1 to 256");
    says(LEAST "workers: 99999999999999999999\n", "f:3:10:", "1 to 256");
    says(LEAST "drain: 10\n", "f:3:8:", "ms, s, m, h or d");
    says(LEAST "drain: 2d\n", "f:3:8:", "0s to 1h");
    says(LEAST "memory: { size: 64MB }\n", "f:3:17:", "64MiB");
    says(LEAST "memory: { size: 1KiB }\n", "f:3:17:", "1MiB to 64TiB");
    says(LEAST "memory:\n", "f:3:1:", "no value");
    says(LEAST "memory: ~\n", "f:3:1:", "no value");
    says(LEAST "log: { format: xml }\n", "f:3:16:", "json|combined|off");
    says(LEAST "purge: { on_gap: panic }\n", "f:3:18:", "revalidate|flush|ignore");
    says(LEAST "node: 'a\"b'\n", "f:3:7:", "edge-1");
    says(LEAST "node: \"a\\nb\"\n", "f:3:7:", "control characters");
    says(LEAST "disk: { path: x }\n", "f:3:7:", "`size` is missing");
    says(LEAST "purge: { redis: 'rediss://h' }\n", "f:3:17:", "stunnel");
    says("listen: [{ address: '127.0.0.1:1', proxy_protocol: yes }]\n", "f:1:52:", "false|true");
}

Test(conf, yaml)
{
    says("a: [\n", "f:2:1:", "not valid YAML");
    says("listen:\n\t- a\n", "f:2:1:", "tabs");
    says(LEAST LEAST, "f:3:1:", "a second time (first in line 1)");
    says(LEAST "memory: { size: 1GiB, size: 2GiB }\n", "f:3:23:", "a second time");
    says("listen: &l [{ address: '127.0.0.1:80' }]\n", "f:1:9:", "anchors");
    says("sites: *x\n", "f:1:8:", "aliases");
    says("listen: !!seq []\n", "f:1:9:", "tags");
    says("? [a]\n: b\n", "f:1:3:", "a key must be");
    says(LEAST "---\n" LEAST, "f:3:1:", "one configuration");
    says("a: \"\xff\"\n", "f:1:5:", "UTF-8");
    says("{{{{{{{{{{{{{{{{{{{{{{{{{{", "f:1:2:", "key");
    says("[[[[[[[[[[[[[[[[[[[[[[[[[[", "f:1:17:", "too deeply");
}

Test(conf, ceilings)
{
    size_t n = CONF_MAX_BYTES + 1;
    char *big = malloc(n + 1);
    memset(big, ' ', n);
    big[n] = '\0';
    says(big, "f: ", "larger than");
    size_t at = (size_t)sprintf(big, "sites: [");
    for (int i = 0; i < CONF_MAX_NODES + 10; i++)
        at += (size_t)sprintf(big + at, "a,");
    strcpy(big + at, "]");
    says(big, "f:1:", "too many entries");
    free(big);
}

Test(conf, contradictions)
{
    says(LEAST "memory: { size: 1MiB, max_object: 2MiB }\n", "f:3:35:", "larger than `size`");
    says("listen: [{ address: '127.0.0.1:80' }, { address: '127.0.0.1:80' }]\nsites: [{ origins: ['http://a'] }]\n",
         "f:1:50:", "twice");
    says("listen: [{ address: 'unix:/x' }, { address: 'unix:/x' }]\nsites: [{ origins: ['http://a'] }]\n",
         "f:1:", "twice");
    says(LEAST "admin: { address: 127.0.0.1:8080 }\n", "f:1:21:", "admin");
    says(LEAST "disk: { path: ./brink-state, size: 1GiB }\nstate: ./brink-state\n", "f:3:15:", "state");
    says("listen: [{ address: '127.0.0.1:80' }]\nsites: [{ hosts: [a] }]\n", "f:2:9:", "`origins` is missing");
    says("listen: [{ address: '127.0.0.1:80' }]\nsites: [{ hosts: [a, A], origins: ['http://x'] }]\n",
         "f:2:22:", "one site");
    says("listen: [{ address: '127.0.0.1:80' }]\nsites: [{ hosts: [a], origins: ['http://x'] }, { hosts: [b, a], "
         "origins: ['http://x'] }]\n",
         "f:2:61:", "`a`");
    says("listen: [{ address: '127.0.0.1:80' }]\nsites: [{ hosts: [a], origins: ['http://x', 'http://X:80/'] }]\n",
         "f:2:45:", "twice");
    says("listen: [{ address: '127.0.0.1:80' }]\nsites: [{ origins: ['http://127.0.0.1'] }]\n",
         "f:2:21:", "own listener");
    says(LEAST "admin: { address: '127.0.0.1:1', tokens: [{ name: a, sha256: '12' }] }\n", "f:3:", "64 hex digits");
    says(LEAST "tier: { secret_file: /nowhere/at-all }\n", "f:3:22:", "openssl rand");
    says(LEAST "tier: { secret_file: /dev/null }\n", "f:3:22:", "regular file");
    says(LEAST "purge: { redis: 'redis://:hunter2@h/x' }\n", "f:3:", "number");
    cr_assert_null(strstr(refused(LEAST "purge: { redis: 'redis://:hunter2@h/x' }\n"), "hunter2"));
}

#define SITE "listen: [{ address: '127.0.0.1:8080' }]\nsites:\n  - origins: ['http://x']\n"

Test(conf, access)
{
    conf_t *c =
        parse(SITE "    access: { allow: [192.0.2.0/24, 192.0.3.0/24, '::1'], deny: ['192.0.2.9'], rate: 5, by: "
                   "'header:X-Api-Key' }\n");
    const access_rules_t *a = &c->sites[0].access;
    cr_expect_eq(a->allow_n, 2, "neighbours are joined");
    cr_expect_eq(a->deny_n, 1);
    cr_expect_eq(a->rate, 5);
    cr_expect_str_eq(a->by.p, "x-api-key");
    conf_unref(c);
    c = parse(LEAST);
    cr_expect_eq(c->sites[0].access.allow_n, 0);
    cr_expect_null(c->sites[0].access.by.p);
    cr_expect_null(c->sites[0].access.secret.p);
    cr_expect_not(conf_rules_for(&c->sites[0], SPAN("/")).must_sign);
    conf_unref(c);
    says(SITE "    access: { allow: [192.0.2.1/24] }\n", "f:4:23:", "bits behind its prefix");
    says(SITE "    access: { deny: [example.com] }\n", "f:4:22:", "192.0.2.0/24");
    says(SITE "    access: { by: cookie }\n", "f:4:19:", "header:");
    says(SITE "    access: { by: 'header:' }\n", "f:4:19:", "header:");
    says(SITE "    access: { rate: -1 }\n", "f:4:21:", "rate");
    says(SITE "    rules: [{ path: /v/**, signed: true }]\n", "f:4:36:", "secret_file");
}

Test(conf, warnings)
{
    conf_t *c = parse("listen: [{ address: '0.0.0.0:443' }]\n"
                      "admin: { address: '0.0.0.0:9090' }\n"
                      "sites:\n"
                      "  - hosts: [a]\n"
                      "    origins: ['http://x']\n"
                      "    ca: x.pem\n"
                      "    rules:\n"
                      "      - { path: '/**', override_private: true, override_ttl: 1s }\n"
                      "      - { path: '/**', ttl: 1s }\n"
                      "purge: { channel: x }\n");
    cr_assert(warned(c, "cleartext"));
    cr_assert(warned(c, "admin.tokens"));
    cr_assert(warned(c, "others"));
    cr_assert(warned(c, "earlier rule"));
    cr_assert(warned(c, "https origin"));
    cr_assert(warned(c, "without purge.redis"));
    bool placed = false;
    for (size_t i = 0; i < c->warnings_n; i++)
        placed |= c->warnings[i].line == 8 && c->warnings[i].column == 42;
    cr_assert(placed);
    conf_unref(c);
    c = parse("listen: [{ address: '127.0.0.1:1' }]\nsites: [{ hosts: ['*.a.de'], origins: ['http://x'] }]\n"
              "admin: { address: '127.0.0.1:2', tokens: [{ name: t, sha256: "
              "'0000000000000000000000000000000000000000000000000000000000000000', sites: [www.a.de, b.de] }] }\n");
    cr_assert_eq(c->warnings_n, 1);
    cr_assert(warned(c, "`b.de`"));
    cr_assert_eq(c->admin.tokens[0].allow, CONF_ALLOW_PURGE | CONF_ALLOW_READ);
    conf_unref(c);
}

static const char *site(const conf_t *c, const char *host)
{
    const conf_site_t *s = conf_site_for(c, span_str(host));
    return s != NULL ? s->name.p : "none";
}

Test(conf, the_most_exact_host_wins)
{
    conf_t *c = parse("listen: [{ address: '127.0.0.1:1' }]\n"
                      "sites:\n"
                      "  - { hosts: ['*.example.com'], origins: ['http://x'] }\n"
                      "  - { hosts: ['www.example.com', example.com], origins: ['http://x'] }\n"
                      "  - { hosts: ['*.img.example.com'], origins: ['http://x'] }\n"
                      "  - { hosts: ['localhost:81'], origins: ['http://x'] }\n"
                      "  - { hosts: ['localhost', '[::1]', '127.0.0.1'], origins: ['http://x'] }\n");
    cr_assert_str_eq(site(c, "www.example.com"), "www.example.com");
    cr_assert_str_eq(site(c, "WWW.example.COM"), "www.example.com");
    cr_assert_str_eq(site(c, "www.example.com."), "www.example.com");
    cr_assert_str_eq(site(c, "www.example.com.:8080"), "www.example.com");
    cr_assert_str_eq(site(c, "example.com"), "www.example.com");
    cr_assert_str_eq(site(c, "a.example.com"), "*.example.com");
    cr_assert_str_eq(site(c, "a.b.example.com:443"), "*.example.com");
    cr_assert_str_eq(site(c, "a.img.example.com"), "*.img.example.com");
    cr_assert_str_eq(site(c, "b.a.img.example.com"), "*.img.example.com");
    cr_assert_str_eq(site(c, "img.example.com"), "*.example.com");
    cr_assert_str_eq(site(c, "localhost:81"), "localhost:81");
    cr_assert_str_eq(site(c, "localhost:82"), "localhost");
    cr_assert_str_eq(site(c, "[::1]:82"), "localhost");
    cr_assert_str_eq(site(c, "[::1]"), "localhost");
    cr_assert_str_eq(site(c, "127.0.0.1:9"), "localhost");
    const char *none[] = {
        "", ".", "example.org", ".example.com", "xexample.com", "[::1", "::1", "com", "a..example.org", ":80", "*"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_assert_str_eq(site(c, none[i]), "none", "%s", none[i]);
    char dots[600];
    memset(dots, '.', sizeof dots);
    cr_assert_null(conf_site_for(c, span_of(dots, 512)));
    cr_assert_null(conf_site_for(c, span_of(dots, 600)));
    conf_unref(c);
    c = parse(LEAST);
    cr_assert_str_eq(site(c, "anything"), "*");
    cr_assert_str_eq(site(c, ""), "*");
    conf_unref(c);
}

/* The hash and the plain comparison say the same. */
Test(conf, host_lookup_agrees_with_the_patterns)
{
    char text[4096] = "listen: [{ address: '127.0.0.1:1' }]\nsites:\n";
    const char *patterns[] = {"a.b", "*.b", "*.a.b", "b", "*.c.a.b", "c.c:80", "*.x"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        sprintf(text + strlen(text), "  - { hosts: ['%s'], origins: ['http://o'] }\n", patterns[i]);
    conf_t *c = parse(text);
    srand(3);
    int found = 0;
    for (int round = 0; round < 20000; round++) {
        char host[16] = "";
        int n = 1 + rand() % 7;
        for (int i = 0; i < n; i++)
            host[i] = "abcx.."[rand() % 6], host[i + 1] = '\0';
        if (rand() % 4 == 0)
            strcat(host, ":80");
        const conf_site_t *got = conf_site_for(c, span_str(host)), *best = NULL;
        for (size_t i = 0; i < c->sites_n; i++) {
            const conf_site_t *s = &c->sites[i];
            if (!conf_host_matches(s->hosts, 1, span_str(host)))
                continue;
            bool wild = s->name.p[0] == '*', best_wild = best != NULL && best->name.p[0] == '*';
            if (best == NULL || (best_wild && !wild) || (best_wild == wild && s->name.n > best->name.n))
                best = s;
        }
        cr_assert_eq(got, best, "%s: %s, not %s", host, got ? got->name.p : "none", best ? best->name.p : "none");
        found += got != NULL;
    }
    cr_assert_gt(found, 500);
    conf_unref(c);
}

Test(conf, rules_first_match_wins_per_setting)
{
    conf_t *c = parse("listen: [{ address: '127.0.0.1:1' }]\n"
                      "sites:\n"
                      "  - origins: ['http://x']\n"
                      "    rules:\n"
                      "      - { path: '/static/**', ttl: 365d }\n"
                      "      - { path: '/static/private/**', cache: false, ttl: 1s }\n"
                      "      - { path: '/api/**', ttl: 30s, stale_while_revalidate: 60s, stale_if_error: 1d }\n"
                      "      - { path: '/api/x', cache: true, override_ttl: 0s, override_private: true }\n"
                      "      - { path: '/**', ttl: 5s, stale_if_error: 1h, cache: false, override_private: false }\n");
    const conf_site_t *s = &c->sites[0];
    rules_t r = conf_rules_for(s, SPAN("/static/a.css"));
    cr_assert_eq(r.ttl, 365LL * 86400000);
    cr_assert_eq(r.stale_if_error, 3600000);
    cr_assert_eq(r.stale_while_revalidate, RULES_UNSET);
    cr_assert_eq(r.override_ttl, RULES_UNSET);
    cr_assert_not(r.cache);
    cr_assert_not(r.override_private);
    r = conf_rules_for(s, SPAN("/static/private/a"));
    cr_assert_eq(r.ttl, 365LL * 86400000);
    r = conf_rules_for(s, SPAN("/api/x"));
    cr_assert_eq(r.ttl, 30000);
    cr_assert_eq(r.stale_while_revalidate, 60000);
    cr_assert_eq(r.stale_if_error, 86400000);
    cr_assert_eq(r.override_ttl, 0);
    cr_assert(r.cache);
    cr_assert(r.override_private);
    r = conf_rules_for(s, SPAN("/"));
    cr_assert_eq(r.ttl, 5000);
    conf_unref(c);
    c = parse(LEAST);
    r = conf_rules_for(&c->sites[0], SPAN("/"));
    cr_assert(r.cache);
    cr_assert_eq(r.ttl, RULES_UNSET);
    conf_unref(c);
}

Test(conf, references)
{
    conf_t *c = parse(LEAST);
    cr_assert_eq(conf_ref(c), c);
    conf_unref(c);
    cr_assert_eq(c->sites_n, 1);
    conf_unref(c);
    conf_unref(NULL);
}

Test(conf, reload_tells_what_needs_a_restart)
{
    conf_t *a = parse(LEAST "memory: { size: 1MiB }\nadmin: { address: '127.0.0.1:9' }\n");
    conf_t *same =
        parse(LEAST "memory: { size: 1024KiB, max_object: 4KiB }\nadmin: { address: '127.0.0.1:9', tokens: [] }\n"
                    "upstream: { retries: 3 }\n");
    conf_t *b = parse("listen: [{ address: '127.0.0.1:8081' }]\nsites: [{ origins: ['http://x'] }]\nworkers: 77\n"
                      "purge: { redis: 'redis://:new@h' }\n");
    size_t at = 0;
    cr_assert_null(conf_restart_needed(a, same, &at));
    const char *want[] = {"workers", "listen", "admin", "memory", "purge"};
    at = 0;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *got = conf_restart_needed(a, b, &at);
        cr_assert(got != NULL && strcmp(got, want[i]) == 0, "%s, not %s", got ? got : "none", want[i]);
    }
    cr_assert_null(conf_restart_needed(a, b, &at));
    conf_unref(a);
    conf_unref(same);
    conf_unref(b);
}

Test(conf, the_reference_names_every_setting)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    conf_describe(f);
    fclose(f);
    const char *some[] = {"\nworkers: number, 1 to 256; default: one per CPU",
                          "memory.size: size, 1MiB to 64TiB; default: 256MiB",
                          "sites[].key.query: ",
                          "listen[].certificates[].key: file name; required",
                          "purge.max_disconnected: ",
                          "sites[].rules[].stale_if_error: ",
                          "log.format: json|combined|off"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        cr_assert_not_null(strstr(text, some[i]), "%s", some[i]);
    free(text);
}

Test(conf, files_that_cannot_be_read)
{
    conf_t *c;
    conf_error_t err;
    char buf[600];
    cr_assert_eq(conf_load("/nowhere/brink.yaml", &c, &err), ERR_IO);
    cr_assert_str_eq(conf_error_text(&err, buf, sizeof buf),
                     "/nowhere/brink.yaml: can't be read: No such file or directory");
    cr_assert_eq(conf_load("/", &c, &err), ERR_IO);
    cr_assert_null(c);
}

Test(conf, how_servers_are_spoken_to)
{
    conf_t *c = parse("listen: [{ address: '127.0.0.1:8080' }]\n"
                      "sites: [{ origins: ['h2c://127.0.0.1:3000', 'https://a.example'], client_certificate: c.pem,"
                      " client_key: c.key }]\n"
                      "upstream: { total_timeout: 5m, http2: false }\n");
    const conf_origin_t *o = c->sites[0].origins;
    cr_expect(o[0].h2c && !o[0].https && o[0].port == 3000);
    cr_expect(span_eq(o[0].url, SPAN("h2c://127.0.0.1:3000")) && !o[1].h2c && o[1].https);
    cr_expect(span_eq(c->sites[0].client_certificate, SPAN("dir/c.pem")));
    cr_expect(span_eq(c->sites[0].client_key, SPAN("dir/c.key")));
    cr_expect(c->upstream.total_timeout == 300000 && !c->upstream.http2);
    conf_unref(c);

    says("listen: [{ address: '127.0.0.1:8080' }]\n"
         "sites: [{ origins: ['https://a.example'],\n"
         "  client_key: c.key }]\n",
         "f:3:", "belong together");
    c = parse("listen: [{ address: '127.0.0.1:8080' }]\n"
              "sites: [{ origins: ['http://a.example'], client_certificate: c.pem, client_key: c.key }]\n");
    cr_expect(warned(c, "without an https server"));
    conf_unref(c);
    says("listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ origins: ['h2://a.example'] }]\n", "f:2:", "h2c");
}

Test(conf, origins_with_more_to_say)
{
    conf_t *c = parse(
        "listen: [{ address: '127.0.0.1:8080' }]\n"
        "sites: [{ origins: ['http://a', { url: 'http://b:81', weight: 5 }, { url: 'http://c', backup: true }],"
        " probe: { path: '/healthz?x=1', interval: 1s, status: 204 } }]\n"
        "upstream: { retry_budget: 0, max_in_flight: 7, max_queue: 0, dns_server: '[::1]:5353', dns_max_ttl: 2s }\n");
    const conf_site_t *s = &c->sites[0];
    cr_assert_eq(s->origins_n, 3);
    cr_expect(s->origins[0].weight == 1 && !s->origins[0].backup && span_eq(s->origins[0].url, SPAN("http://a")));
    cr_expect(s->origins[1].weight == 5 && !s->origins[1].backup && s->origins[1].port == 81);
    cr_expect(s->origins[2].weight == 1 && s->origins[2].backup && span_eq(s->origins[2].host, SPAN("c")));
    cr_expect(s->probe.present && span_eq(s->probe.path, SPAN("/healthz?x=1")) && s->probe.host.p == NULL);
    cr_expect(s->probe.interval == 1000 && s->probe.timeout == 2000 && s->probe.status == 204);
    cr_expect(c->upstream.retry_budget == 0 && c->upstream.max_in_flight == 7 && c->upstream.max_queue == 0);
    cr_expect(span_eq(c->upstream.dns_server, SPAN("[::1]:5353")) && c->upstream.dns_max_ttl == 2000);
    conf_unref(c);
    c = parse(LEAST);
    cr_expect(!c->sites[0].probe.present && c->sites[0].origins[0].weight == 1);
    cr_expect(c->upstream.retry_budget == 20 && c->upstream.max_in_flight == 2048 && c->upstream.queue_timeout == 5000);
    conf_unref(c);
#define ORIGINS(list) "listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ origins: [" list "] }]\n"
    says(ORIGINS("{ weight: 2 }"), "f:2:", "`url` is missing");
    says(ORIGINS("{ url: 'http://a', wieght: 2 }"), "f:2:40:", "did you mean `weight`");
    says(ORIGINS("{ url: 'http://a', weight: 0 }"), "f:2:", "1 to 1000");
    says(ORIGINS("{ url: 'a' }"), "f:2:", "http://");
    says(ORIGINS("{ url: 'http://a', backup: true }"), "f:2:", "at least one must be there");
    says(ORIGINS("'http://a', { url: 'http://a:80/' }"), "f:2:", "twice");
    says("listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ origins: ['http://a'], probe: { path: healthz } }]\n",
         "f:2:", "must be a path");
    says("listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ origins: ['http://a'], probe: {} }]\n",
         "f:2:", "`path` is missing");
    c = parse(
        "listen: [{ address: '127.0.0.1:8080' }]\nsites: [{ hosts: [a], origins: ['http://x'], probe: { path: /a } },"
        " { hosts: [b], origins: ['http://x'], probe: { path: /b } }]\n");
    cr_expect(warned(c, "asked in one way only"));
    conf_unref(c);
}

/* What editors and habits bring. */
Test(conf, what_was_not_meant)
{
    conf_unref(parse("\xef\xbb\xbf" LEAST));
    says("\xff\xfel\0", "f: ", "save it as UTF-8");
    static const char *const words[] = {"OFF", "no", "none", "False", "STDOUT", "Syslog", "on", "true", "stderr"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char text[400], own[64];
        snprintf(text, sizeof text, LEAST "log: { access: %s }\n", words[i]);
        snprintf(own, sizeof own, "./%s for a file of that name", words[i]);
        says(text, "f:3:16:", own);
        snprintf(text, sizeof text, LEAST "log: { access: ./%s }\n", words[i]);
        conf_unref(parse(text));
    }
    says(LEAST "admin: { address: '127.0.0.1:9090', tokens: [{ name: a, allow: [], sha256: "
               "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }] }\n",
         "f:3:64:", "`allow` is empty");
    /* one port */
    says("listen: [{ address: '127.0.0.1:80' }, { address: '0.0.0.0:80' }]\nsites: [{ origins: ['http://x'] }]\n", "f:1:50:",
         "one port");
    says("listen: [{ address: '[::]:80' }, { address: '[::1]:80' }]\nsites: [{ origins: ['http://x'] }]\n", "f:1:45:",
         "one port");
    says("listen: [{ address: '0.0.0.0:80' }]\nadmin: { address: '127.0.0.1:80' }\nsites: [{ origins: ['http://x'] }]\n",
         "f:1:21:", "one port");
    conf_unref(parse("listen: [{ address: '0.0.0.0:80' }, { address: '[::]:80' }, { address: '127.0.0.1:81' }]\n"
                     "sites: [{ origins: ['http://x'] }]\n"));
    /* a host with its default port, elsewhere */
    says("listen: [{ address: '127.0.0.1:1' }]\nsites:\n  - { hosts: [a.example], origins: ['http://x'] }\n"
         "  - { hosts: ['a.example:80'], origins: ['http://y'] }\n",
         "f:4:14:", "default port");
    conf_unref(parse("listen: [{ address: '127.0.0.1:1' }]\nsites:\n"
                     "  - { hosts: [a.example, 'a.example:80', 'a.example:443'], origins: ['http://x'] }\n"
                     "  - { hosts: ['a.example:8080', 'b.example:80'], origins: ['http://y'] }\n"));
}

Test(conf, a_rule_that_never_decides)
{
    static const struct {
        const char *rules;
        bool warns;
    } rows[] = {
        {"{ path: '/**', ttl: 1s }, { path: /a, ttl: 2s }", true},
        {"{ path: '/a/**', ttl: 1s, cache: true }, { path: '/a/*.js', cache: false }", true},
        {"{ path: '/**', ttl: 1s }, { path: /a, ttl: 2s, cache: false }", false},
        {"{ path: '/**', ttl: 1s }, { path: /a, stale_if_error: 2s }", false},
        {"{ path: '/b/**', ttl: 1s }, { path: /a, ttl: 2s }", false},
        {"{ path: /a, ttl: 2s }, { path: '/**', ttl: 1s }", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        snprintf(text, sizeof text, "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://x'], rules: [%s] }]\n",
                 rows[i].rules);
        conf_t *c = parse(text);
        cr_expect_eq(warned(c, "never decides"), rows[i].warns, "%s", rows[i].rules);
        conf_unref(c);
    }
}
