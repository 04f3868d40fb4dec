/* The first bytes of a connection as a PROXY header. However they come: a verdict stands once it was given, only what
 * is whole is accepted, and no byte behind the header has a say. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/serve/proxy_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static err_t parse(const uint8_t *data, size_t n, proxy_line_t *out, size_t *used)
{
    char *exact = mem_alloc(n > 0 ? n : 1); /* so that a sanitizer sees one byte too far */
    memcpy(exact, data, n);
    err_t e = proxy_line_parse(exact, n, out, used);
    free(exact);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    proxy_line_t whole, part;
    size_t used, n;
    if (size > 2 * PROXY_LINE_MAX)
        return 0;
    err_t e = parse(data, size, &whole, &used);
    CHECK(e == ERR_OK || e == ERR_AGAIN || e == ERR_MALFORMED);
    CHECK(e != ERR_AGAIN || size < PROXY_LINE_MAX);
    CHECK(e != ERR_OK || (used <= size && used > 0));
    CHECK(whole.len == 0 || (whole.len == sizeof(struct sockaddr_in) && whole.source.ss_family == AF_INET) ||
          (whole.len == sizeof(struct sockaddr_in6) && whole.source.ss_family == AF_INET6));
    for (size_t k = 0; k < size; k++) {
        err_t at = parse(data, k, &part, &n);
        if (e == ERR_AGAIN || (e == ERR_OK && k < used))
            CHECK(at == ERR_AGAIN);
        else if (e == ERR_OK)
            CHECK(at == ERR_OK && n == used && part.len == whole.len &&
                  memcmp(&part.source, &whole.source, sizeof part.source) == 0);
        else
            CHECK(at == ERR_AGAIN || at == ERR_MALFORMED);
    }
    return 0;
}
