/* Keys of session tickets: the same on every node that has the secret, and others in every period. */
#include <criterion/criterion.h>
#include <string.h>

#include "edge/serve/tls_ticket.h"

static bool differ(const tls_ticket_key_t *a, const tls_ticket_key_t *b)
{
    return memcmp(a->name, b->name, sizeof a->name) != 0 && memcmp(a->mac, b->mac, sizeof a->mac) != 0 &&
           memcmp(a->cipher, b->cipher, sizeof a->cipher) != 0;
}

Test(tls_ticket, keys_come_of_secret_and_period)
{
    tls_ticket_key_t a, again, later, other;
    tls_ticket_key(SPAN("a ticket secret of some length"), 82000, &a);
    tls_ticket_key(SPAN("a ticket secret of some length"), 82000, &again);
    tls_ticket_key(SPAN("a ticket secret of some length"), 82001, &later);
    tls_ticket_key(SPAN("another ticket secret"), 82000, &other);
    cr_expect_arr_eq(a.name, again.name, sizeof a.name);
    cr_expect_arr_eq(a.mac, again.mac, sizeof a.mac);
    cr_expect_arr_eq(a.cipher, again.cipher, sizeof a.cipher);
    cr_expect(differ(&a, &later), "a new period has new keys");
    cr_expect(differ(&a, &other));
    size_t n = sizeof a.mac < sizeof a.cipher ? sizeof a.mac : sizeof a.cipher;
    cr_expect_arr_neq(a.mac, a.cipher, n, "what seals is not what encrypts");
    cr_expect_leq(TLS_TICKET_ROTATION, (msec_t)24 * 3600 * 1000, "and a period is no longer than a day");
}
