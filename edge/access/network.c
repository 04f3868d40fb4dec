/* A list of networks is a set of addresses, and a set of addresses is a sorted list of disjoint ranges: membership is a
 * binary search, whatever the prefixes overlapped like when they were written down. */
#include "edge/access/network.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char network_mapped[12] = {[10] = 0xff, [11] = 0xff};

/* Bits of the text's own family: 32 or 128; 0: no address. */
static unsigned network_read(span_t text, network_address_t *out)
{
    char z[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n) != NULL)
        return 0;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    memcpy(out->bytes, network_mapped, sizeof network_mapped);
    if (inet_pton(AF_INET, z, out->bytes + sizeof network_mapped) == 1)
        return 32;
    return inet_pton(AF_INET6, z, out->bytes) == 1 ? 128 : 0;
}

err_t network_address(span_t text, network_address_t *out)
{
    return network_read(text, out) > 0 ? ERR_OK : ERR_SYNTAX;
}

static err_t network_prefix(span_t text, unsigned *out)
{
    if (text.n == 0 || text.n > 3 || (text.n > 1 && text.p[0] == '0'))
        return ERR_SYNTAX;
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return ERR_SYNTAX;
        *out = *out * 10 + (unsigned)(text.p[i] - '0');
    }
    return ERR_OK;
}

err_t network_parse(span_t text, network_t *out)
{
    size_t slash = span_find(text, '/');
    unsigned bits = network_read(span_upto(text, slash), &out->first), prefix = bits;
    if (bits == 0)
        return ERR_SYNTAX;
    if (slash < text.n && network_prefix(span_from(text, slash + 1), &prefix) != ERR_OK)
        return ERR_SYNTAX;
    if (prefix > bits)
        return ERR_RANGE;
    out->last = out->first;
    for (unsigned bit = 128 - bits + prefix; bit < 128; bit++) {
        unsigned char mask = (unsigned char)(0x80u >> (bit % 8));
        if (out->first.bytes[bit / 8] & mask)
            return ERR_RANGE;
        out->last.bytes[bit / 8] |= mask;
    }
    return ERR_OK;
}

static int network_compare(const network_address_t *a, const network_address_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int network_by_first(const void *a, const void *b)
{
    return network_compare(&((const network_t *)a)->first, &((const network_t *)b)->first);
}

/* Does b begin no later than directly behind a's end? */
static bool network_touches(const network_t *a, const network_t *b)
{
    network_address_t next = a->last;
    for (int i = 15; i >= 0 && ++next.bytes[i] == 0; i--)
        if (i == 0)
            return true; /* a ends at the last address of all */
    return network_compare(&b->first, &next) <= 0;
}

size_t network_sort(network_t *v, size_t n)
{
    size_t kept = 0;
    if (n > 1)
        qsort(v, n, sizeof *v, network_by_first);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && network_touches(&v[kept - 1], &v[i])) {
            if (network_compare(&v[i].last, &v[kept - 1].last) > 0)
                v[kept - 1].last = v[i].last;
        } else {
            v[kept++] = v[i];
        }
    }
    return kept;
}

bool network_holds(const network_t *v, size_t n, const network_address_t *address)
{
    size_t low = 0, high = n; /* the first range that begins behind the address */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (network_compare(&v[middle].first, address) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && network_compare(address, &v[low - 1].last) <= 0;
}

network_address_t network_client(const network_address_t *address)
{
    network_address_t client = *address;
    if (memcmp(client.bytes, network_mapped, sizeof network_mapped) != 0)
        memset(client.bytes + 8, 0, 8);
    return client;
}
