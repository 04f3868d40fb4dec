/* Content codings that are applied here (RFC 9110 8.4), for sites with `compress`. What is coded: whole bodies of 200
 * whose head allows it (edge/policy/codable.h), for clients of an edge. Two ways:
 *
 *   kept   memory has the coded form of what is stored (edge/coding/coded.h): sent like any other body
 *   live   it is coded while it is sent, a slice for each turn of the loop, flushed so that a body that arrives slowly
 *          is seen as soon as it comes; a hit that is answered so has the coded form made for those who come after it
 *
 * Live coders take memory from the budget, and there are so many of them at most; whoever comes then gets the body as
 * it is. Ranges are always those of the identity form, which has an entity tag of its own: nobody can put bytes of two
 * forms together. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/coding/coder.h"
#include "edge/coding/encoder.h"
#include "edge/http/weighted.h"
#include "edge/policy/codable.h"
#include "edge/request/request_priv.h"

enum {
    ENCODE_SLICE = 32 * 1024, /* bytes coded in one turn of the loop: a millisecond or less */
    ENCODE_LIVE_MOST = 64,    /* bodies coded live at a time by one loop */
    ENCODE_LIVE_SHARE = 16    /* of the memory budget, for all live coders of a loop */
};

struct request_encoder {
    encoder_t *encoder; /* NULL: all is coded */
    encoded_t out;      /* of the last slice: what is being sent */
    uint64_t reserved;
};

static unsigned encode_label(coding_t c)
{
    return (unsigned)c - 1;
}

static bool encode_sized(const object_t *o, int64_t length)
{
    return !object_pieces(o) && (length < 0 || (length >= CODER_BODY_LEAST && length <= CODER_BODY_MOST));
}

bool encode_could(const request_t *rq, const object_t *o, const stored_t *meta, int64_t length)
{
    return (meta->flags & STORED_CODABLE) != 0 && rq->site != NULL && rq->site->compress_n > 0 && !rq->from_tier &&
           meta->status == 200 && encode_sized(o, length);
}

static bool encode_dense(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_DENSE) != 0;
}

coding_t encode_wanted(const request_t *rq, const object_t *o)
{
    if (rq->cc.no_transform || encode_dense(o))
        return CODING_IDENTITY;
    return coding_choose(&rq->x->fields, rq->site->compress, rq->site->compress_n);
}

encode_told_t encode_explain(const request_t *rq, const object_t *o, const stored_t *meta, const fields_t *fields,
                             int64_t length)
{
    codable_t codable = codable_decide(meta->status, fields);
    encode_told_t told = {.coding = CODING_IDENTITY};
    if (rq->site == NULL || rq->site->compress_n == 0)
        told.why = (why_rule_t){"compress", "site", "the site applies no coding", "as it is"};
    else if (codable != CODABLE_YES)
        told.why = (why_rule_t){codable_word(codable), codable_section(codable), codable_says(codable), "as it is"};
    else if (!encode_could(rq, o, meta, length))
        told.why = (why_rule_t){"length", "site", "bodies so short or so long are not coded", "as it is"};
    else if (encode_dense(o))
        told.why = (why_rule_t){"dense", "site", "it was tried, and the body became no smaller", "as it is"};
    else if ((told.coding = encode_wanted(rq, o)) == CODING_IDENTITY)
        told.why =
            (why_rule_t){"accept-encoding", "RFC 9110 12.5.3", "the request wants no coding of the site's", "as it is"};
    if (told.coding == CODING_IDENTITY)
        return told;
    object_t *coded = coded_peek(rq->env->store, o, told.coding);
    told.why = coded != NULL ? (why_rule_t){"kept", "RFC 9110 12.5.3", "the coded form is in memory", "coded"}
                             : (why_rule_t){"live", "RFC 9110 12.5.3", "it is coded while it is sent", "coded"};
    object_unref(coded);
    return told;
}

/* A coder for this one response. False: as many are at work as may be. */
static bool encode_live(request_t *rq, coding_t c, int64_t length)
{
    request_env_t *env = rq->env;
    uint64_t bytes = encoder_bytes(c, ENCODER_LIVE) + 2 * ENCODE_SLICE;
    bool room = env->encoding == 0 || (env->encoding < ENCODE_LIVE_MOST &&
                                       env->encoding_bytes + bytes <= rq->conf->memory.size / ENCODE_LIVE_SHARE);
    if (!room || !store_reserve(env->store, bytes)) {
        metrics_add(METRIC_CODED_NOT, 0, 1);
        return false;
    }
    encoder_t *e = encoder_new(c, ENCODER_LIVE, length);
    if (e == NULL) {
        store_unreserve(env->store, bytes);
        return false;
    }
    rq->encoder = mem_zalloc(sizeof *rq->encoder);
    *rq->encoder = (request_encoder_t){.encoder = e, .out = {.most = SIZE_MAX}, .reserved = bytes};
    env->encoding++;
    env->encoding_bytes += bytes;
    return true;
}

static bool encode_stored(const request_t *rq)
{
    return (rq->hit || rq->stale_served) && body_state(object_body(rq->object)) == BODY_COMPLETE;
}

coding_t encode_begin(request_t *rq, coding_t c, int64_t length, int64_t *sent)
{
    bool whole = body_state(object_body(rq->object)) == BODY_COMPLETE, head = rq->x->method == METHOD_HEAD;
    int64_t coded = -1;
    rq->coded = whole ? coded_find(rq->env->store, rq->object, c) : NULL;
    if (rq->coded != NULL) {
        coded = (int64_t)body_length(object_body(rq->coded));
    } else {
        if (encode_stored(rq) && rq->env->coder != NULL)
            coder_ask(rq->env->coder, rq->object, c);
        if (rq->x->protocol < 11) /* its end would only be that of the connection */
            return CODING_IDENTITY;
        if (!head && !encode_live(rq, c, length))
            return CODING_IDENTITY;
    }
    *sent = coded;
    if (head)
        return c;
    metrics_add2(METRIC_CODED, encode_label(c), rq->coded != NULL ? LABEL_CODED_KEPT : LABEL_CODED_LIVE, 1);
    if (rq->coded != NULL) {
        metrics_add2(METRIC_CODED_BYTES, encode_label(c), LABEL_SIDE_BEFORE, (uint64_t)length);
        metrics_add2(METRIC_CODED_BYTES, encode_label(c), LABEL_SIDE_AFTER, (uint64_t)coded);
    }
    rq->coding = c;
    return c;
}

static void encode_release(request_t *rq)
{
    request_encoder_t *e = rq->encoder;
    if (e->encoder == NULL)
        return;
    encoder_free(e->encoder);
    e->encoder = NULL;
    store_unreserve(rq->env->store, e->reserved);
    rq->env->encoding--;
    rq->env->encoding_bytes -= e->reserved;
}

size_t encode_gather(request_t *rq, struct iovec *v, bool *last, bool *failed)
{
    request_encoder_t *e = rq->encoder;
    body_t *body = object_body(rq->object);
    struct iovec in[REQUEST_IOV];
    *failed = false;
    body_state_t state = body_state(body); /* before the bytes: what is complete now has no more than we find */
    uint64_t from = rq->cursor.at;
    size_t n = body_read(body, &rq->cursor, UINT64_MAX, in, REQUEST_IOV, ENCODE_SLICE);
    *last = state == BODY_COMPLETE && rq->cursor.at >= body_length(body);
    e->out.n = 0;
    if (n == 0 && !*last)
        return 0;
    err_t err = ERR_OK;
    for (size_t i = 0; err == ERR_OK && i < n; i++)
        err = encoder_put(e->encoder, span_of(in[i].iov_base, in[i].iov_len), i + 1 < n ? ENCODER_MORE : ENCODER_FLUSH,
                          &e->out);
    if (err == ERR_OK && *last)
        err = encoder_put(e->encoder, SPAN_NONE, ENCODER_FINISH, &e->out);
    metrics_add2(METRIC_CODED_BYTES, encode_label(rq->coding), LABEL_SIDE_BEFORE, rq->cursor.at - from);
    metrics_add2(METRIC_CODED_BYTES, encode_label(rq->coding), LABEL_SIDE_AFTER, e->out.n);
    *failed = err != ERR_OK;
    if (*last || *failed)
        encode_release(rq);
    v[0] = (struct iovec){.iov_base = e->out.p, .iov_len = e->out.n};
    return e->out.n > 0 ? 1 : 0;
}

void encode_close(request_t *rq)
{
    object_unref(rq->coded);
    rq->coded = NULL;
    if (rq->encoder == NULL)
        return;
    encode_release(rq);
    free(rq->encoder->out.p);
    free(rq->encoder);
    rq->encoder = NULL;
}

/* ---- fields ---- */

/* Does the response say already that Accept-Encoding selects? */
static bool encode_varies(span_t vary)
{
    span_t member;
    while (weighted_next(&vary, &member))
        if (span_eq(member, SPAN("*")) || span_caseeq(member, SPAN("accept-encoding")))
            return true;
    return false;
}

static bool encode_block_varies(const fieldblock_t *block)
{
    field_t f;
    for (size_t pos = 0; fieldblock_next(block, &pos, &f);)
        if (span_eq(f.name, SPAN("vary")) && encode_varies(f.value))
            return true;
    return false;
}

/* The client holds a coded form, and says so: then a 304 of any origin speaks of that (RFC 9110 15.4.5). */
static span_t encode_tag(request_t *rq, int status, coding_t c, span_t etag)
{
    span_t tag = coding_tag(etag, c, rq->x->arena);
    return status == 304 && !rq->from_tier ? coding_tag_held(&rq->x->fields, etag, tag, rq->x->arena) : tag;
}

/* The origin's own 304 says nothing of the content's type, so what of it would be coded shows in what the client holds:
 * who has a coded form had a 200 with Vary, and a 304 repeats it (RFC 9110 15.4.5). */
bool encode_holds(const request_t *rq, const stored_t *meta)
{
    fields_t asked;
    return meta->status == 304 && rq->site != NULL && rq->site->compress_n > 0 && !rq->from_tier &&
           coding_untag_fields(&rq->x->fields, rq->x->arena, &asked);
}

void encode_fields_begin(encode_fields_t *e, const fieldblock_t *block, int status, bool could, coding_t c)
{
    *e = (encode_fields_t){.coding = c, .status = status};
    e->vary = could && !encode_block_varies(block);
}

/* Whoever goes on with a part of a coded form can't have the rest of it. Content-Encoding isn't for "identity" (RFC
 * 9110 8.4.1); stored it stays: so an origin asks that nobody codes. */
static bool encode_drops(const request_t *rq, const encode_fields_t *e, const field_t *f)
{
    if (e->coding != CODING_IDENTITY && span_eq(f->name, SPAN("accept-ranges")))
        return true;
    return !rq->from_tier && span_eq(f->name, SPAN("content-encoding")) && span_caseeq(f->value, SPAN("identity"));
}

bool encode_field(request_t *rq, encode_fields_t *e, field_t *f)
{
    if (encode_drops(rq, e, f))
        return false;
    if (e->vary && f->name.n == 4 && span_eq(f->name, SPAN("vary"))) {
        e->vary = false;
        f->value = arena_printf(rq->x->arena, "%.*s, Accept-Encoding", SPAN_ARG(f->value));
    } else if ((e->coding != CODING_IDENTITY || e->status == 304) && span_eq(f->name, SPAN("etag"))) {
        f->value = encode_tag(rq, e->status, e->coding, f->value);
    }
    return f->value.p != NULL;
}

void encode_fields_end(const encode_fields_t *e, fields_t *out)
{
    if (e->vary)
        fields_add(out, SPAN("vary"), SPAN("Accept-Encoding"));
    if (e->coding != CODING_IDENTITY && e->status == 200)
        fields_add(out, SPAN("content-encoding"), coding_name(e->coding));
}
