/* Networks of client addresses (CIDR: RFC 4632, RFC 4291 2.3), as sorted ranges. Pure. */
#ifndef BRINK_ACCESS_NETWORK_H
#define BRINK_ACCESS_NETWORK_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/base/err.h"
#include "edge/base/span.h"

/* An address of either family; IPv4 as ::ffff:a.b.c.d, so that both are ordered and compared alike. */
typedef struct network_address {
    unsigned char bytes[16];
} network_address_t;

/* first..last, both included. */
typedef struct network {
    network_address_t first, last;
} network_t;

/* "192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7". ERR_SYNTAX: no address (a zone index is none either). */
err_t network_address(span_t text, network_address_t *out);
/* "192.0.2.0/24", "2001:db8::/32", or one address. ERR_SYNTAX; ERR_RANGE: the prefix is longer than the address, or
 * bits behind it are set, so that it is unclear what was meant. */
err_t network_parse(span_t text, network_t *out);
/* Sorts and joins what overlaps or touches. Returns how many are left. */
size_t network_sort(network_t *v, size_t n);
/* Is the address in one of them? `v` as network_sort left it. */
bool network_holds(const network_t *v, size_t n, const network_address_t *address);
/* What one client is counted as: an IPv4 address whole, of an IPv6 address the first 64 bits, since a subscriber has as
 * many addresses behind them as it likes (RFC 4291 2.5.4). */
network_address_t network_client(const network_address_t *address);

#endif
