/* A network that is denied stays denied whatever else is said; a list of allowed networks refuses everybody else. What
 * can't be told (no address, no such field) is treated as the stranger that it is: it is in no network, and all such
 * share one bucket. */
#include "edge/access/access.h"

static bool access_network(const access_rules_t *r, const network_address_t *address)
{
    if (address == NULL)
        return r->allow_n == 0;
    return !network_holds(r->deny, r->deny_n, address) &&
           (r->allow_n == 0 || network_holds(r->allow, r->allow_n, address));
}

static digest_t access_who(const access_rules_t *r, unsigned site, const network_address_t *address,
                           const fields_t *request)
{
    span_t field = r->by.p != NULL ? fields_get(request, r->by) : SPAN_NONE;
    if (field.p != NULL)
        return hash_digest_seed(field, 2 * (uint64_t)site + 1);
    network_address_t client = {{0}};
    if (address != NULL)
        client = network_client(address);
    return hash_digest_seed(span_of((const char *)client.bytes, sizeof client.bytes), 2 * (uint64_t)site);
}

access_verdict_t access_client(const access_rules_t *r, limiter_t *limiter, unsigned site, span_t peer,
                               const fields_t *request, int64_t now, msec_t *wait)
{
    if (r->allow_n == 0 && r->deny_n == 0 && r->rate == 0)
        return ACCESS_YES;
    network_address_t read;
    const network_address_t *address = network_address(peer, &read) == ERR_OK ? &read : NULL;
    if (!access_network(r, address))
        return ACCESS_NETWORK;
    if (r->rate == 0 || limiter == NULL)
        return ACCESS_YES;
    *wait =
        limiter_take(limiter, access_who(r, site, address, request), r->rate, r->burst > 0 ? r->burst : r->rate, now);
    return *wait == 0 ? ACCESS_YES : ACCESS_RATE;
}

access_verdict_t access_signed(const access_rules_t *r, arena_t *a, span_t host, span_t path,
                               const signature_url_t *url, const fields_t *request, msec_t now)
{
    switch (signature_verify(a, r->secret, host, path, url, request, now)) {
    case ERR_OK:
        return ACCESS_YES;
    case ERR_NOT_FOUND:
        return ACCESS_UNSIGNED;
    case ERR_TIMEOUT:
        return ACCESS_EXPIRED;
    default:
        return ACCESS_SIGNATURE;
    }
}
