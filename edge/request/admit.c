/* Whether this client may ask this site at all. Asked of clients, not of the tier: an edge has asked already, and to a
 * shield all its clients have one address. The signature of a URL is taken out of the target before anything else reads
 * it, so that it is neither in the key nor sent to the origin. */
#include "edge/request/request_priv.h"

enum { ADMIT_MICROS = 1000 }; /* in a millisecond */

static request_go_t admit_deny(request_t *rq, access_verdict_t why)
{
    static const struct {
        int status;
        const char *detail, *sentence;
    } answers[] = {
        [ACCESS_NETWORK] = {403, "access", "this site does not answer your network"},
        [ACCESS_RATE] = {429, "rate", "too many requests: this site allows fewer a second"},
        [ACCESS_UNSIGNED] = {403, "unsigned", "this URL needs a signature"},
        [ACCESS_SIGNATURE] = {403, "signature", "the signature is not of this URL"},
        [ACCESS_EXPIRED] = {403, "expired", "the signature of this URL has expired"},
    };
    if (rq->why == NULL)
        metrics_add(METRIC_DENIED, (unsigned)why - ACCESS_NETWORK, 1);
    return deliver_error(rq, answers[why].status, answers[why].detail, answers[why].sentence);
}

bool admit_client(request_t *rq, request_go_t *go)
{
    bool nobody = rq->why != NULL && rq->x->peer.n == 0; /* explain was not told whose request it is */
    if (rq->from_tier || nobody)
        return true;
    limiter_t *limiter = rq->why == NULL ? rq->env->limiter : NULL;
    access_verdict_t v = access_client(&rq->site->access, limiter, (unsigned)rq->site->index, rq->x->peer,
                                       &rq->x->fields, rq->env->loop->now.boot * ADMIT_MICROS, &rq->retry_after);
    if (v != ACCESS_YES)
        *go = admit_deny(rq, v);
    return v == ACCESS_YES;
}

err_t admit_split(request_t *rq)
{
    if (rq->from_tier || rq->site == NULL || rq->site->access.secret.p == NULL || rq->signature.mac.p != NULL ||
        rq->signature.expires.p != NULL)
        return ERR_OK;
    return signature_split(rq->x->arena, &rq->x->target, &rq->signature);
}

bool admit_signed(request_t *rq, request_go_t *go)
{
    if (rq->from_tier || !rq->rules.must_sign)
        return true;
    access_verdict_t v = access_signed(&rq->site->access, rq->x->arena, rq->key.host, rq->key.path, &rq->signature,
                                       &rq->x->fields, rq->env->loop->now.wall);
    if (v != ACCESS_YES)
        *go = admit_deny(rq, v);
    return v == ACCESS_YES;
}
