/* What the three dialects (brink's, and two CDNs') share: one call from the checked message to its answer. */
#ifndef BRINK_PURGE_API_PRIV_H
#define BRINK_PURGE_API_PRIV_H

#include <jansson.h>

#include "purge/api.h"

typedef struct api_call api_call_t;

/* How a dialect says things. */
typedef struct api_dialect {
    void (*done)(api_call_t *c, const purge_outcome_t *o);
    void (*fail)(api_call_t *c, int status, const char *title, const char *detail);
} api_dialect_t;

struct api_call {
    api_t *api;
    const handler_request_t *req;
    handler_reply_t *reply;
    const api_dialect_t *dialect;
    const char *allow; /* of a 405 */
    arena_t arena;
    auth_who_t who;
    message_t message;
};

api_call_t *api_begin(api_t *api, const handler_request_t *req, handler_reply_t *reply, const api_dialect_t *dialect);
bool api_method(api_call_t *c, method_t method,
                const char *allow); /* 405 said when false, and the call is over; so below */
bool api_allowed(api_call_t *c, unsigned need);
bool api_body_is_json(api_call_t *c);
void api_submit(api_call_t *c); /* c->message, validated here; takes the call */
void api_fail(api_call_t *c, int status, const char *title, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void api_reply(api_call_t *c, handler_response_t *r);                                   /* sends, and ends the call */
void api_reply_json(api_call_t *c, int status, const char *content_type, json_t *body); /* takes body */
void api_add_value(api_call_t *c, message_list_t *l, span_t v);
void api_add_words(api_call_t *c, message_list_t *l, span_t words); /* separated by spaces */

#endif
