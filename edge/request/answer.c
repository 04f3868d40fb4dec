/* Exchanges that brink answers itself: the admin listener and PURGE. Bridges exchange_t to the plain structures of a
 * handler, whose reply may come later and from any thread; if the client has left by then it is thrown away. */
#include <stdlib.h>
#include <sys/uio.h>

#include "edge/access/network.h"
#include "edge/base/mem.h"
#include "edge/http/date.h"
#include "edge/http/uri.h"
#include "edge/request/request_priv.h"

typedef struct answer {
    handler_reply_t reply;
    handler_request_t request;
    handler_response_t response;
    loop_message_t message;
    loop_t *loop;
    exchange_t *x; /* NULL: gone */
    arena_t arena; /* the request's spans, which must outlive the exchange */
    fields_t fields;
    char date[DATE_LEN + 1];
    request_env_t *env;
    bool sent, replied;
} answer_t;

static void answer_free(answer_t *a)
{
    handler_response_release(&a->response);
    arena_release(&a->arena);
    free(a);
}

static void answer_send(answer_t *a)
{
    exchange_t *x = a->x;
    fields_t out;
    fields_init(&out, x->arena);
    date_format(a->loop->now.wall, a->date);
    fields_add(&out, SPAN("date"), span_of(a->date, DATE_LEN));
    if (a->response.content_type != NULL)
        fields_add(&out, SPAN("content-type"), span_str(a->response.content_type));
    for (int i = 0; i < a->response.extras; i++)
        fields_add(&out, span_str(a->response.extra_name[i]), span_str(a->response.extra_value[i]));
    if (!fields_has(&out, SPAN("cache-control")))
        fields_add(&out, SPAN("cache-control"), SPAN("no-store"));
    if (!fields_has(&out, SPAN("x-content-type-options")))
        fields_add(&out, SPAN("x-content-type-options"), SPAN("nosniff"));
    struct iovec v = {.iov_base = a->response.body, .iov_len = a->response.body_len};
    bool body = x->method != METHOD_HEAD && v.iov_len > 0;
    a->sent = true;
    x->ops->head(x, a->response.status, &out, (int64_t)a->response.body_len);
    x->ops->send(x, &v, body ? 1 : 0, EXCHANGE_FINAL);
}

static void answer_arrived(loop_message_t *m)
{
    answer_t *a = CONTAINER_OF(m, answer_t, message);
    a->replied = true;
    if (a->x != NULL)
        answer_send(a);
    else
        answer_free(a);
}

static void answer_reply(handler_reply_t *r, handler_response_t *resp)
{
    answer_t *a = CONTAINER_OF(r, answer_t, reply);
    a->response = *resp;
    loop_post(a->loop, &a->message);
}

static void answer_on_writable(exchange_t *x)
{
    (void)x; /* the only send was the final one */
}

static void answer_on_gone(exchange_t *x)
{
    answer_t *a = x->path;
    a->x = NULL;
    a->env->in_flight--;
    if (a->replied)
        answer_free(a);
}

/* Called by an address, or as localhost? A page in a browser of this machine can call under any name that its own
 * server makes point here (DNS rebinding), and would be let in as this machine; but not under these. */
static bool answer_by_address(span_t host)
{
    int port;
    network_address_t address;
    span_t name = uri_host_name(host, &port);
    return name.n == 0 || name.p[0] == '[' || span_caseeq(name, SPAN("localhost")) ||
           network_address(name, &address) == ERR_OK;
}

void request_answer(request_env_t *env, exchange_t *x, handler_fn *handler, void *ctx)
{
    answer_t *a = mem_zalloc(sizeof *a);
    arena_init(&a->arena, 0);
    a->reply.send = answer_reply;
    a->message.run = answer_arrived;
    a->loop = env->loop;
    a->env = env;
    a->x = x;
    x->path = a;
    x->on_writable = answer_on_writable;
    x->on_gone = answer_on_gone;
    env->in_flight++;
    fields_init(&a->fields, &a->arena);
    for (size_t i = 0; i < x->fields.n; i++)
        fields_add(&a->fields, arena_copy(&a->arena, x->fields.v[i].name), arena_copy(&a->arena, x->fields.v[i].value));
    span_t target = arena_copy(&a->arena, x->target);
    size_t question = span_find(target, '?');
    a->request = (handler_request_t){
        .method = x->method,
        .method_name = arena_copy(&a->arena, x->method_name),
        .path = span_upto(target, question),
        .query = question < target.n ? span_from(target, question + 1) : SPAN_NONE,
        .scheme = arena_copy(&a->arena, x->scheme),
        .host = arena_copy(&a->arena, x->authority),
        .fields = &a->fields,
        .env = env,
        .body = arena_copy(&a->arena, x->body),
        .peer = arena_copy(&a->arena, x->peer),
    };
    span_t peer = a->request.peer;
    bool local = span_starts(peer, SPAN("127.")) || span_eq(peer, SPAN("::1"));
    a->request.peer_loopback = (local && answer_by_address(x->authority)) || span_eq(peer, SPAN("unix")) ||
                               peer.n == 0; /* who may open the socket is a matter of its file */
    handler(ctx, &a->request, &a->reply);
}
