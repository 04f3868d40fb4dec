/* Replies of Redis as the structures that the purge log is read in. Pure: nothing is trusted to have the shape that it
 * should have. */
#ifndef BRINK_PURGE_REDIS_REPLY_H
#define BRINK_PURGE_REDIS_REPLY_H

#include <hiredis/hiredis.h>

#include "edge/base/err.h"
#include "edge/base/span.h"

/* The ID of a stream's entry: milliseconds, then a sequence number. */
typedef struct stream_id {
    uint64_t ms, seq;
} stream_id_t;

static inline int stream_id_cmp(stream_id_t a, stream_id_t b)
{
    return a.ms != b.ms ? (a.ms < b.ms ? -1 : 1) : a.seq != b.seq ? (a.seq < b.seq ? -1 : 1) : 0;
}

enum { STREAM_ID_TEXT = 48 };
err_t redis_reply_id(span_t text, stream_id_t *out); /* "1700000000000-0" */
const char *redis_reply_id_text(stream_id_t id, char out[STREAM_ID_TEXT]);

/* One entry of XRANGE; spans live as long as the reply. */
typedef struct stream_entry {
    stream_id_t id;
    span_t purge; /* .p NULL: the entry has no such field */
    span_t by;
    span_t life;       /* the state directory whose number `by` is; .p NULL: unknown */
    stream_id_t again; /* the ID of the entry that Redis lost and that this one takes the place of; 0-0: none */
    bool heard;        /* it was entered for a message of the channel */
} stream_entry_t;
err_t redis_reply_entry(const redisReply *r, stream_entry_t *out);

typedef struct stream_info {
    bool exists;
    uint64_t length, entries_added;
    stream_id_t last, first; /* last-generated-id; first entry's (0-0 when empty) */
} stream_info_t;
/* XINFO STREAM; "no such key" is an empty stream. */
err_t redis_reply_stream_info(const redisReply *r, stream_info_t *out);

/* Value of "name:value" in INFO's text; .p NULL when it isn't there. */
span_t redis_reply_info(span_t text, span_t name);
/* Text of a string or status; .p NULL for anything else. */
span_t redis_reply_text(const redisReply *r);
bool redis_reply_is_error(const redisReply *r, const char *prefix); /* "NOSCRIPT", "" = any */

#endif
