/* The configuration as an immutable snapshot: parsed, checked, with every default filled in, in one arena.
 *
 * Ownership: conf_load and conf_parse hand out one reference. conf_ref/conf_unref are atomic and may be called on any
 * thread; everything reached from a conf_t lives exactly as long as the conf_t. Nothing in it changes after it was
 * handed out, so readers take no lock: a reload swaps the pointer, and whoever still works under the old snapshot keeps
 * a reference to it. Every span_t that is not absent has a NUL behind it; absent is .p == NULL. Paths of files are
 * absolute, or relative to the working directory where the configuration's own name was. Sizes are bytes, durations
 * milliseconds. All settings, their limits, defaults and descriptions stand in edge/tbl/config.def. */
#ifndef BRINK_CONF_CONF_H
#define BRINK_CONF_CONF_H

#include <stdio.h>
#include <sys/socket.h>

#include "edge/access/access.h"
#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/base/time.h"
#include "edge/http/coding.h"
#include "edge/policy/rules.h"

enum {
    CONF_MAX_BYTES = 4 * 1024 * 1024, /* a configuration file */
    CONF_MAX_NODES = 200 * 1000,      /* scalars, lists and mappings in it */
    CONF_MAX_DEPTH = 16,              /* of nesting */
    CONF_MAX_SECRET = 4096,           /* bytes in a secret file */
    CONF_MIN_SECRET = 16,
    CONF_MAX_WORKERS = 256
};

/* Where a problem is: line and column begin at 1; 0 when it concerns no place (a file that can't be read). */
typedef struct conf_error {
    char file[512];
    int line, column;
    char message[512]; /* what is wrong, and what would be right */
} conf_error_t;

typedef enum conf_address_kind { CONF_TCP4, CONF_TCP6, CONF_UNIX } conf_address_kind_t;

typedef struct conf_address {
    conf_address_kind_t kind;
    span_t text;                /* as written, e.g. "[::1]:8080" */
    span_t host;                /* numeric, without brackets; absent for unix */
    uint16_t port;              /* 0 for unix */
    span_t path;                /* of the unix socket, else absent */
    struct sockaddr_storage sa; /* ready for bind(2) */
    socklen_t sa_len;
} conf_address_t;

typedef struct conf_certificate {
    span_t certificate, key; /* file names (PEM); serve loads them */
    span_t ocsp;             /* file name, or absent */
    int line, column;        /* for errors when loading */
} conf_certificate_t;

typedef struct conf_listener {
    conf_address_t address;
    const conf_certificate_t *certificates; /* the first is the default; none: cleartext */
    size_t certificates_n;
    span_t client_ca; /* file name, or absent */
    bool proxy_protocol;
    const network_t *proxy_from; /* none: anybody */
    size_t proxy_from_n;
} conf_listener_t;

enum conf_allow { CONF_ALLOW_PURGE = 1u << 0, CONF_ALLOW_READ = 1u << 1 };

typedef struct conf_token {
    span_t name;
    unsigned char sha256[32]; /* of the token's bytes */
    unsigned allow;           /* enum conf_allow */
    const span_t *sites;      /* host patterns; none: all sites */
    size_t sites_n;
} conf_token_t;

/* An HTTP server that brink sends requests to. Equal URLs (in normal form) share one index in the whole snapshot. */
typedef struct conf_origin {
    span_t url; /* normal form: "http://127.0.0.1:3000", "https://origin.example.com", "unix:/run/app.sock" */
    bool https;
    bool h2c;         /* HTTP/2 with prior knowledge, without TLS (RFC 9113 3.3) */
    span_t host;      /* lower case, without brackets; "localhost" for unix */
    uint16_t port;    /* always set (80, 443 by default); 0 for unix */
    span_t authority; /* what Host says of it: brackets on, default port off */
    span_t unix_path; /* absent unless unix: */
    size_t index;     /* into conf_t.upstreams */
    uint32_t weight;  /* its share among its like; this and what follows belong to this place, not to the URL */
    bool backup;      /* of a site's origins: takes requests only while no other is well */
} conf_origin_t;

/* How a server is asked whether it is well. */
typedef struct conf_probe {
    bool present;
    span_t path; /* origin form, with a query if there is one */
    span_t host; /* absent: the server's own authority */
    msec_t interval, timeout;
    uint32_t status; /* that says it is */
} conf_probe_t;

typedef struct conf_rule conf_rule_t; /* private: precompiled glob and which settings it sets */

typedef struct conf_site {
    size_t index;        /* into conf_t.sites */
    span_t name;         /* the first host pattern: label of metrics and logs */
    const span_t *hosts; /* "www.example.com", "*.example.com", "*": lower case */
    size_t hosts_n;
    const conf_origin_t *origins;
    size_t origins_n; /* 0 only where the shield is there with fallback none */
    conf_probe_t probe;
    span_t ca;                             /* file name; absent: the system's only */
    span_t client_certificate, client_key; /* file names; absent: brink shows none to origins */
    span_t origin_host;                    /* absent: the client's Host goes up */
    uint64_t max_body;
    const span_t *upgrade; /* protocols that a tunnel may be opened for */
    size_t upgrade_n;
    uint32_t refill;
    bool early_refresh;
    bool server_timing;
    msec_t hsts; /* RULES_UNSET: not sent */
    key_rules_t key;
    access_rules_t access;
    coding_t compress[CODINGS]; /* by preference */
    size_t compress_n;
    const conf_rule_t *rules;
    size_t rules_n;
} conf_site_t;

typedef enum conf_fallback { CONF_FALLBACK_ORIGIN, CONF_FALLBACK_NONE } conf_fallback_t;

typedef struct conf_shield {
    bool present;
    const conf_origin_t *nodes;
    size_t nodes_n;
    conf_probe_t probe;
    span_t secret;                             /* bytes of secret_file, white space at its end taken off */
    span_t ca, client_certificate, client_key; /* as of a site, for https nodes */
    conf_fallback_t fallback;
} conf_shield_t;

typedef struct conf_tier {
    bool present; /* this node answers edges */
    span_t secret;
} conf_tier_t;

typedef enum conf_redis_kind {
    CONF_REDIS_NONE,
    CONF_REDIS_TCP,
    CONF_REDIS_UNIX,
    CONF_REDIS_SENTINEL
} conf_redis_kind_t;

typedef struct conf_endpoint {
    span_t host; /* name or numeric address without brackets */
    uint16_t port;
} conf_endpoint_t;

typedef struct conf_redis {
    conf_redis_kind_t kind;
    span_t shown;                 /* the URL without its password: for logs */
    const conf_endpoint_t *hosts; /* TCP: one; SENTINEL: the sentinels */
    size_t hosts_n;
    span_t unix_path;
    span_t user, password; /* absent, or percent-decoded */
    span_t master;         /* SENTINEL */
    int db;
} conf_redis_t;

typedef enum conf_on_gap { CONF_GAP_REVALIDATE, CONF_GAP_FLUSH, CONF_GAP_IGNORE } conf_on_gap_t;

typedef struct conf_purge {
    conf_redis_t redis;
    span_t stream;
    span_t channel; /* absent for none */
    msec_t keep;
    conf_on_gap_t on_gap;
    msec_t wait_timeout;
    msec_t start_without_redis;
    msec_t max_disconnected; /* MSEC_NEVER for never */
} conf_purge_t;

typedef enum conf_log_access { CONF_LOG_OFF, CONF_LOG_STDOUT, CONF_LOG_SYSLOG, CONF_LOG_FILE } conf_log_access_t;
typedef enum conf_log_format {
    CONF_FORMAT_JSON,
    CONF_FORMAT_COMBINED,
    CONF_FORMAT_OFF /* only while parsing: a snapshot then says access OFF */
} conf_log_format_t;

typedef struct conf_log {
    conf_log_access_t access;
    span_t path; /* of CONF_LOG_FILE */
    conf_log_format_t format;
} conf_log_t;

typedef struct conf_admin {
    bool present; /* without it there is no admin listener */
    conf_address_t address;
    const conf_certificate_t *certificates; /* none: cleartext */
    size_t certificates_n;
    span_t client_ca; /* file name, or absent */
    const conf_token_t *tokens;
    size_t tokens_n;
} conf_admin_t;

typedef struct conf_memory {
    uint64_t size, max_object; /* max_object <= size */
    unsigned eviction;         /* number of the policy in evict_at, edge/store/evict.h */
} conf_memory_t;

typedef struct conf_disk {
    bool present;
    span_t path; /* directory */
    uint64_t size;
    msec_t wait;    /* a request waits so long for the disk, then it goes upstream */
    uint64_t slice; /* bytes of a large response that are fetched together where they are missing */
} conf_disk_t;

typedef struct conf_upstream {
    msec_t connect_timeout, first_byte_timeout, idle_timeout;
    msec_t total_timeout; /* MSEC_NEVER for never */
    msec_t tunnel_timeout;
    bool http2;
    uint32_t retries;
    uint32_t retry_budget;             /* percent of the requests of the last seconds */
    uint32_t max_in_flight, max_queue; /* of each server, by this node */
    msec_t queue_timeout;
    span_t dns_server; /* host:port; absent: the system's */
    msec_t dns_max_ttl;
} conf_upstream_t;

typedef struct conf_tls {
    span_t ticket_secret; /* absent: none */
} conf_tls_t;

typedef struct conf_limits {
    uint32_t connections, connections_per_address, handshakes, requests;
    msec_t handshake_timeout, header_timeout, body_timeout, idle_timeout, write_timeout;
    uint64_t header_bytes, target_bytes, header_memory, body_memory;
    uint32_t header_count, idle_frames, resets, continuations;
} conf_limits_t;

typedef struct conf_warning {
    int line, column;
    span_t message;
} conf_warning_t;

typedef struct conf {
    span_t file; /* as given to conf_load */
    span_t node;
    uint32_t workers;
    span_t state; /* directory */
    span_t user;  /* absent: no change */
    bool core_dumps;
    bool sandbox;
    msec_t drain;

    const conf_listener_t *listeners;
    size_t listeners_n;

    conf_admin_t admin;

    conf_memory_t memory;

    conf_disk_t disk;

    const conf_site_t *sites;
    size_t sites_n;

    conf_upstream_t upstream;

    conf_shield_t shield;
    conf_tier_t tier;
    conf_purge_t purge;

    conf_tls_t tls;

    conf_limits_t limits;

    conf_log_t log;

    /* Every distinct server that requests go to: shield nodes and origins of all sites, by conf_origin_t.index. */
    const conf_origin_t *const *upstreams;
    size_t upstreams_n;

    /* What is allowed and probably not meant; `brinkd -t` prints them. */
    const conf_warning_t *warnings;
    size_t warnings_n;
} conf_t;

/* Reads and checks a file, and the secret files that it names. Errors: ERR_IO, ERR_SYNTAX, ERR_RANGE, ERR_TOO_BIG, with
 * `err` filled; *out is then NULL. Blocks on the file system. */
err_t conf_load(const char *path, conf_t **out, conf_error_t *err);
/* The same from memory. `name` stands in errors and gives the directory for relative file names. */
err_t conf_parse(span_t bytes, const char *name, conf_t **out, conf_error_t *err);
/* "FILE:LINE:COLUMN: message" (or "FILE: message"), cut to n. Returns buf. */
const char *conf_error_text(const conf_error_t *err, char *buf, size_t n);

conf_t *conf_ref(const conf_t *c);
void conf_unref(const conf_t *c); /* NULL is allowed */

/* The site of a host (with or without a port, any case): exact name with port, exact name, longest wildcard, "*"; NULL:
 * none. */
const conf_site_t *conf_site_for(const conf_t *c, span_t host);
/* The settings in force for a normalised path (without query): the first rule that matches and sets it decides, per
 * setting. */
rules_t conf_rules_for(const conf_site_t *site, span_t path);
/* For people: rule number i as it was written. False: it doesn't match the path. Its switches are -1 where it doesn't
 * set them. */
typedef struct conf_rule_view {
    span_t path;
    rules_t values; /* durations; RULES_UNSET: not set here */
    int cache, override_private, must_sign;
} conf_rule_view_t;
bool conf_rule_matches(const conf_site_t *site, size_t i, span_t path, conf_rule_view_t *out);
/* Does one of a token's or site's host patterns cover this host? The same matching as conf_site_for. */
bool conf_host_matches(const span_t *patterns, size_t n, span_t host);

/* Writes the reference of all settings: name, type, default, limits, meaning. For `brinkd --help-config`. */
void conf_describe(FILE *to);
/* A setting that differs between the two and only takes effect with a restart ("listen", "workers", …), or NULL. *at
 * starts at 0 and moves on, so that a loop finds them all. */
const char *conf_restart_needed(const conf_t *running, const conf_t *wanted, size_t *at);

#endif
