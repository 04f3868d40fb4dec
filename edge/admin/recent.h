/* The last lines of the access log in memory, for GET /v1/log, wherever the log itself goes, if anywhere.
 *
 * Whoever follows asks again with the number that the last answer gave: the node keeps nothing for a reader, so a slow
 * one costs nothing, and is told how many lines went by before it came.
 *
 * Lines are kept while somebody asks (and for RECENT_WATCHED after), and always where the log is written as JSON
 * anyway. At most RECENT_LINES of them in RECENT_BYTES; the oldest go.
 *
 * Threads: recent_add on the log's writer only; everything else on any. */
#ifndef BRINK_ADMIN_RECENT_H
#define BRINK_ADMIN_RECENT_H

#include "edge/admin/accesslog.h"
#include "edge/http/handler.h"

enum {
    RECENT_LINES = 4096,
    RECENT_USUAL = 100, /* lines that are answered where it isn't said how many */
    RECENT_BYTES = 2 * 1024 * 1024,
    RECENT_ANSWER_LINES = 1000,
    RECENT_ANSWER_BYTES = 1024 * 1024,
    RECENT_WATCHED = 60 * 1000 /* ms after the last call */
};

recent_t *recent_new(void);
void recent_free(recent_t *r); /* NULL is fine */
/* Does anybody ask? Cheap. */
bool recent_watched(const recent_t *r, msec_t wall);
/* `line`: JSON, without its newline. */
void recent_add(recent_t *r, const accesslog_record_t *record, span_t line);
/* GET /v1/log[?last=N | ?after=N][&host=H][&status=404|5xx][&cache=HIT]; ctx: the recent_t. `last` may be RECENT_LINES:
 * what is more than one answer holds is had by going on with its `next`. */
handler_fn recent_handle;

#endif
