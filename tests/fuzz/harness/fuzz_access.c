/* Networks, and a request's target and cookies as signatures: line 1 a network, line 2 an address, line 3 a target,
 * line 4 a Cookie field. */
#include "edge/access/access.h"
#include "edge/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    span_t line[4], rest = span_of((const char *)data, size);
    for (int i = 0; i < 4; i++) {
        size_t end = span_find(rest, '\n');
        line[i] = span_upto(rest, end);
        rest = span_from(rest, end + 1);
    }
    network_t n;
    network_address_t a;
    if (network_parse(line[0], &n) == ERR_OK) {
        CHECK(network_sort(&n, 1) == 1);
        CHECK(network_holds(&n, 1, &n.first) && network_holds(&n, 1, &n.last));
        if (network_address(line[1], &a) == ERR_OK)
            network_holds(&n, 1, &a);
    }
    arena_t arena;
    arena_init(&arena, 1 << 20);
    fields_t f;
    fields_init(&f, &arena);
    fields_add(&f, SPAN("cookie"), line[3]);
    signature_url_t url;
    span_t target = line[2], again;
    if (signature_split(&arena, &target, &url) == ERR_OK) {
        CHECK(target.n <= line[2].n);
        again = target;
        signature_url_t none;
        CHECK(signature_split(&arena, &again, &none) == ERR_OK && none.mac.p == NULL && none.expires.p == NULL);
        CHECK(signature_verify(&arena, SPAN("0123456789abcdef"), SPAN("h"), SPAN("/v/x"), &url, &f, 0) != ERR_OK ||
              line[2].n > 64 || line[3].n > 64);
    }
    arena_release(&arena);
    return 0;
}
