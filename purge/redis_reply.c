/* Shapes of replies, checked member by member: a proxy, a module or another version may answer anything. */
#include "purge/redis_reply.h"

#include <inttypes.h>
#include <stdio.h>

static bool reply_number(span_t s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

err_t redis_reply_id(span_t text, stream_id_t *out)
{
    size_t dash = span_find(text, '-');
    if (dash >= text.n || !reply_number(span_upto(text, dash), &out->ms) ||
        !reply_number(span_from(text, dash + 1), &out->seq))
        return ERR_SYNTAX;
    return ERR_OK;
}

const char *redis_reply_id_text(stream_id_t id, char out[STREAM_ID_TEXT])
{
    snprintf(out, STREAM_ID_TEXT, "%" PRIu64 "-%" PRIu64, id.ms, id.seq);
    return out;
}

span_t redis_reply_text(const redisReply *r)
{
    if (r == NULL || (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS) || r->str == NULL)
        return SPAN_NONE;
    return span_of(r->str, r->len);
}

bool redis_reply_is_error(const redisReply *r, const char *prefix)
{
    return r != NULL && r->type == REDIS_REPLY_ERROR && r->str != NULL &&
           span_starts(span_of(r->str, r->len), span_str(prefix));
}

err_t redis_reply_entry(const redisReply *r, stream_entry_t *out)
{
    *out = (stream_entry_t){.heard = false};
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        redis_reply_id(redis_reply_text(r->element[0]), &out->id) != ERR_OK)
        return ERR_MALFORMED;
    const redisReply *f = r->element[1];
    if (f == NULL || f->type != REDIS_REPLY_ARRAY)
        return ERR_OK; /* an entry all the same: it has an ID, and counts */
    for (size_t i = 0; i + 1 < f->elements; i += 2) {
        span_t name = redis_reply_text(f->element[i]), value = redis_reply_text(f->element[i + 1]);
        if (span_eq(name, SPAN("purge")) && out->purge.p == NULL)
            out->purge = value;
        else if (span_eq(name, SPAN("by")))
            out->by = value;
        else if (span_eq(name, SPAN("life")))
            out->life = value;
        else if (span_eq(name, SPAN("again")) && redis_reply_id(value, &out->again) != ERR_OK)
            out->again = (stream_id_t){0, 0};
        else if (span_eq(name, SPAN("heard")))
            out->heard = true;
    }
    return ERR_OK;
}

err_t redis_reply_stream_info(const redisReply *r, stream_info_t *out)
{
    *out = (stream_info_t){.exists = false};
    if (redis_reply_is_error(r, "ERR no such key"))
        return ERR_OK;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY)
        return ERR_MALFORMED;
    bool last = false, added = false;
    for (size_t i = 0; i + 1 < r->elements; i += 2) {
        span_t name = redis_reply_text(r->element[i]);
        const redisReply *v = r->element[i + 1];
        if (span_eq(name, SPAN("length")) && v->type == REDIS_REPLY_INTEGER) {
            out->length = (uint64_t)v->integer;
        } else if (span_eq(name, SPAN("entries-added")) && v->type == REDIS_REPLY_INTEGER) {
            out->entries_added = (uint64_t)v->integer;
            added = true;
        } else if (span_eq(name, SPAN("last-generated-id"))) {
            last = redis_reply_id(redis_reply_text(v), &out->last) == ERR_OK;
        } else if (span_eq(name, SPAN("first-entry")) && v->type == REDIS_REPLY_ARRAY) {
            stream_entry_t first;
            if (redis_reply_entry(v, &first) == ERR_OK)
                out->first = first.id;
        }
    }
    out->exists = true;
    return last && added ? ERR_OK : ERR_MALFORMED; /* before 7.0 there is no entries-added */
}

span_t redis_reply_info(span_t text, span_t name)
{
    while (text.n > 0) {
        size_t end = span_find(text, '\n');
        span_t line = span_upto(text, end);
        text = span_from(text, end + 1);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n > name.n && span_starts(line, name) && line.p[name.n] == ':')
            return span_from(line, name.n + 1);
    }
    return SPAN_NONE;
}
