/* The picture as JSON. Durations are seconds, with a fraction where there is one. */
#include "edge/admin/explanation.h"

#include <jansson.h>
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/base/utf8.h"
#include "edge/admin/json.h"
#include "edge/http/date.h"

static json_t *explanation_word(const char *z)
{
    return z != NULL ? json_string(z) : json_null();
}

static json_t *explanation_seconds(msec_t ms)
{
    return ms % MSEC_PER_SEC == 0 ? json_integer(ms / MSEC_PER_SEC) : json_real((double)ms / MSEC_PER_SEC);
}

static json_t *explanation_moment(msec_t wall)
{
    char text[DATE_LEN + 1];
    date_format(wall, text);
    return json_string(text);
}

static json_t *explanation_reason(const why_rule_t *r)
{
    return json_pack("{s:s, s:s, s:s}", "reason", r->word, "section", r->section, "says", r->says);
}

static json_t *explanation_rules(const why_t *why)
{
    json_t *all = json_array();
    for (size_t i = 0; i < why->n; i++) {
        const why_rule_t *r = &why->rule[i];
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:s, s:b, s:o}", "rule", r->word, "section", r->section, "says",
                                        r->says, "holds", r->then != NULL, "then", explanation_word(r->then)));
    }
    return all;
}

static void explanation_duration(json_t *to, const char *name, msec_t ms)
{
    if (ms != RULES_UNSET)
        json_object_set_new(to, name, explanation_seconds(ms));
}

static void explanation_switch(json_t *to, const char *name, int value)
{
    if (value >= 0)
        json_object_set_new(to, name, json_boolean(value));
}

static json_t *explanation_settings(const rules_t *r, int cache, int override_private, int must_sign)
{
    json_t *j = json_object();
    explanation_duration(j, "ttl", r->ttl);
    explanation_duration(j, "override_ttl", r->override_ttl);
    explanation_duration(j, "stale_while_revalidate", r->stale_while_revalidate);
    explanation_duration(j, "stale_if_error", r->stale_if_error);
    explanation_switch(j, "cache", cache);
    explanation_switch(j, "override_private", override_private);
    explanation_switch(j, "signed", must_sign);
    return j;
}

static json_t *explanation_site_rules(const explanation_t *e)
{
    json_t *all = json_array();
    for (size_t i = 0; i < e->rules_n; i++) {
        const conf_rule_view_t *r = &e->rules[i];
        json_t *j = explanation_settings(&r->values, r->cache, r->override_private, r->must_sign);
        json_object_set_new(j, "path", admin_json_text(r->path));
        json_array_append_new(all, j);
    }
    return all;
}

static json_t *explanation_vary(const explanation_stored_t *s)
{
    json_t *all = json_array();
    for (size_t i = 0; i < s->vary_n; i++)
        json_array_append_new(all, json_pack("{s:o, s:o, s:b}", "name", admin_json_text(s->vary[i].name), "value",
                                             admin_json_text(s->vary[i].value), "same", s->vary[i].same));
    return all;
}

static void explanation_lifetime(json_t *j, const explanation_stored_t *s)
{
    json_t *from = json_object();
    if (s->lifetime_from != NULL) {
        json_object_set_new(from, "source", json_string(s->lifetime_from));
        json_object_set_new(from, "section", json_string(s->lifetime_section));
        json_object_set_new(from, "field", explanation_word(s->lifetime_field));
    } else {
        json_object_set_new(from, "source", json_string("rules of the site that have been changed since"));
        json_object_set_new(from, "section", json_string("site rule"));
        json_object_set_new(from, "now", explanation_seconds(s->lifetime_now));
    }
    json_object_set_new(j, "age", explanation_seconds(s->age));
    json_object_set_new(j, "lifetime", explanation_seconds(s->lifetime));
    json_object_set_new(j, "lifetime_from", from);
    json_object_set_new(j, "ttl", explanation_seconds(s->lifetime - s->age));
    json_object_set_new(j, "stale_while_revalidate", explanation_seconds(s->stale_while_revalidate));
    json_object_set_new(j, "stale_if_error", explanation_seconds(s->stale_if_error));
}

static json_t *explanation_stored(const explanation_stored_t *s)
{
    json_t *says = json_array();
    for (size_t i = 0; i < s->says_n; i++)
        json_array_append_new(says, json_string(s->says[i]));
    json_t *j = json_pack("{s:s, s:b, s:b, s:b, s:o, s:s, s:o}", "tier", s->tier, "chosen", s->chosen, "selected",
                          s->selected, "note", s->note, "stored_at", explanation_moment(s->stored_at), "purge",
                          s->purge, "vary", explanation_vary(s));
    json_object_set_new(j, s->note ? "not_stored" : "storing", explanation_reason(&s->storing));
    if (s->note) {
        json_object_set_new(j, "ttl", explanation_seconds(s->lifetime - s->age));
        json_decref(says);
        return j;
    }
    json_object_set_new(j, "status", json_integer(s->status));
    if (s->coding.p != NULL)
        json_object_set_new(j, "coding",
                            json_pack("{s:o, s:o}", "name", admin_json_text(s->coding), "because",
                                      explanation_reason(&s->coding_why)));
    explanation_lifetime(j, s);
    json_object_set_new(j, "says", says);
    json_object_set_new(j, "etag", admin_json_text(s->etag));
    json_object_set_new(j, "last_modified", admin_json_text(s->modified));
    json_object_set_new(j, "bytes", json_integer((json_int_t)s->bytes));
    if (s->part)
        json_object_set_new(j, "part_first", json_integer(s->first));
    json_object_set_new(j, "length", s->length >= 0 ? json_integer(s->length) : json_null());
    json_object_set_new(j, "hits", json_integer((json_int_t)s->hits));
    json_object_set_new(j, "tags", json_integer((json_int_t)s->tags));
    return j;
}

static json_t *explanation_upstream(const explanation_t *e)
{
    json_t *validators = json_object();
    for (size_t i = 0; i < e->validators->n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", SPAN_ARG(e->validators->v[i].name));
        json_object_set_new(validators, name, admin_json_text(e->validators->v[i].value));
    }
    return json_pack("{s:s, s:b, s:b, s:o, s:s}", "asked", e->asks, "waits_for_running_fetch", e->joins, "past_shields",
                     e->past_shields, "validators", validators, "on_error", e->stale_on_error ? "stale" : "error");
}

char *explanation_json(const explanation_t *e, size_t *n)
{
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "url", admin_json_text(e->url), "node",
                          admin_json_text(e->node), "at", explanation_moment(e->at), "site", admin_json_text(e->site),
                          "key", admin_json_text(e->key), "uri", admin_json_text(e->uri), "decision", e->decision);
    CHECK(j != NULL);
    if (e->status > 0)
        json_object_set_new(j, "status", json_integer(e->status));
    json_object_set_new(j, "because", explanation_reason(&e->because));
    json_object_set_new(j, "cache_status", admin_json_text(e->cache_status));
    json_object_set_new(j, "rules", explanation_rules(e->why));
    json_object_set_new(j, "client", json_boolean(e->client));
    json_object_set_new(j, "site_rules", explanation_site_rules(e));
    if (e->settings != NULL)
        json_object_set_new(j, "settings",
                            explanation_settings(e->settings, e->settings->cache, e->settings->override_private,
                                                 e->settings->must_sign));
    json_t *stored = json_array();
    for (size_t i = 0; i < e->stored_n; i++)
        json_array_append_new(stored, explanation_stored(&e->stored[i]));
    json_object_set_new(j, "stored", stored);
    json_object_set_new(j, "upstream", explanation_upstream(e));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    json_decref(j);
    *n = strlen(text);
    return text;
}
