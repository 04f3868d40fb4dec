/* The picture as JSON. Names that came from outside may be no UTF-8; jansson refuses such a string, and then it stands
 * there as null rather than failing the whole answer. */
#include "edge/admin/status.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "edge/base/check.h"

static json_t *status_text(span_t s)
{
    json_t *j = s.p != NULL ? json_stringn(s.p, s.n) : NULL;
    return j != NULL ? j : json_null();
}

static json_t *status_word(const char *z)
{
    return status_text(span_str(z));
}

static json_t *status_number(uint64_t n)
{
    return json_integer(n <= INT64_MAX ? (json_int_t)n : INT64_MAX);
}

static json_t *status_moment(msec_t wall)
{
    char text[40];
    time_t t = (time_t)(wall / 1000);
    struct tm tm;
    CHECK(gmtime_r(&t, &tm) != NULL);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static json_t *status_tiers(const status_t *s)
{
    json_t *all = json_object();
    for (size_t i = 0; i < s->tiers_n; i++) {
        const status_tier_t *t = &s->tiers[i];
        json_t *j = json_object();
        json_object_set_new(j, "objects", status_number(t->objects));
        json_object_set_new(j, "bytes", status_number(t->bytes));
        json_object_set_new(j, "budget", status_number(t->budget));
        json_object_set_new(j, "hits", status_number(t->hits));
        json_object_set_new(j, "hit_ratio", json_real(t->part));
        json_t *evictions = json_object();
        for (size_t k = 0; k < t->evictions_n; k++)
            json_object_set_new(evictions, t->evictions[k].name, status_number(t->evictions[k].n));
        json_object_set_new(j, "evictions", evictions);
        if (t->disk != NULL) {
            json_object_set_new(j, "write_amplification", json_real(t->disk->write_amplification));
            json_object_set_new(j, "segments", status_number(t->disk->segments));
            json_object_set_new(j, "stalls", status_number(t->disk->stalls));
            json_object_set_new(j, "damaged", status_number(t->disk->damaged));
            json_object_set_new(j, "errors", status_number(t->disk->errors));
            json_object_set_new(j, "queue_bytes", status_number(t->disk->queue_bytes));
        }
        json_object_set_new(all, t->name, j);
    }
    return all;
}

static json_t *status_upstreams(const status_t *s)
{
    json_t *all = json_array();
    for (size_t i = 0; i < s->upstreams_n; i++) {
        const status_upstream_t *u = &s->upstreams[i];
        json_t *j = json_object();
        json_object_set_new(j, "name", status_text(u->name));
        json_object_set_new(j, "kind", json_string(u->shield ? "shield" : "origin"));
        json_object_set_new(j, "healthy", json_boolean(u->healthy));
        json_object_set_new(j, "requests", status_number(u->requests));
        json_object_set_new(j, "failures", status_number(u->failures));
        json_object_set_new(j, "in_flight", status_number(u->in_flight));
        json_object_set_new(j, "waiting", status_number(u->waiting));
        json_object_set_new(j, "latency_us", status_number(u->latency_micros));
        json_object_set_new(j, "ejections", status_number(u->ejections));
        if (u->circuit != NULL)
            json_object_set_new(j, "circuit", status_word(u->circuit));
        if (u->ejected_for > 0)
            json_object_set_new(j, "ejected_for_ms", status_number((uint64_t)u->ejected_for));
        if (u->why != NULL)
            json_object_set_new(j, "why", status_word(u->why));
        json_array_append_new(all, j);
    }
    return all;
}

static json_t *status_workers(const status_t *s)
{
    json_t *all = json_array();
    for (size_t i = 0; i < s->workers_n; i++) {
        const status_worker_t *w = &s->workers[i];
        json_t *j = json_object();
        json_object_set_new(j, "connections", status_number(w->connections));
        json_object_set_new(j, "requests", status_number(w->requests));
        json_object_set_new(j, "accepted", status_number(w->accepted));
        json_array_append_new(all, j);
    }
    return all;
}

static json_t *status_purge(const status_purge_t *p)
{
    json_t *j = json_object();
    json_object_set_new(j, "cursor", status_word(p->cursor != NULL ? p->cursor : ""));
    json_object_set_new(j, "position", status_number(p->position));
    double lag = p->lag_seconds;
    json_object_set_new(j, "lag_seconds", lag > 0 ? json_real(lag) : json_integer(0));
    json_object_set_new(j, "gaps", status_number(p->gaps));
    json_object_set_new(j, "redis", status_word(p->redis != NULL ? p->redis : "none"));
    json_object_set_new(j, "undelivered", status_number(p->undelivered));
    json_object_set_new(j, "in_doubt", json_boolean(p->in_doubt));
    json_object_set_new(j, "recorder", json_boolean(p->recorder));
    return j;
}

char *status_json(const status_t *s, size_t *n)
{
    json_t *j = json_object();
    json_object_set_new(j, "node", status_text(s->node));
    json_object_set_new(j, "version", status_word(s->version));
    if (s->role != NULL)
        json_object_set_new(j, "role", status_word(s->role));
    json_object_set_new(j, "started", status_moment(s->started));
    json_object_set_new(j, "uptime", json_integer(s->uptime / 1000));
    json_object_set_new(j, "ready", json_boolean(s->ready));
    json_object_set_new(j, "draining", json_boolean(s->draining));
    json_object_set_new(j, "tiers", status_tiers(s));
    json_object_set_new(j, "upstreams", status_upstreams(s));
    json_object_set_new(j, "workers", status_workers(s));
    json_object_set_new(j, "purge", status_purge(&s->purge));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6));
    CHECK(text != NULL);
    json_decref(j);
    *n = strlen(text);
    return text;
}
