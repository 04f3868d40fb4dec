/* Whatever a client puts into its fields, a line of the access log is one line, and in JSON a valid object. The first
 * byte chooses how the rest is shared out among the fields. */
#include <jansson.h>
#include <stdlib.h>

#include "edge/admin/accesslog.h"
#include "edge/base/check.h"
#include "edge/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(accesslog_format_t format, const accesslog_record_t *r, char *buf)
{
    size_t n = accesslog_line(format, r, buf);
    CHECK(n > 0 && n <= ACCESSLOG_LINE_MAX && memchr(buf, '\n', n) == buf + n - 1);
    for (size_t i = 0; i + 1 < n; i++)
        CHECK((unsigned char)buf[i] >= 0x20 && buf[i] != 0x7f);
    if (format == ACCESSLOG_COMBINED) {
        for (size_t i = 0; i < n; i++)
            CHECK((unsigned char)buf[i] < 0x80);
        return;
    }
    json_t *j = json_loadb(buf, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    CHECK(json_is_object(j));
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *buf;
    if (buf == NULL)
        buf = mem_alloc(ACCESSLOG_LINE_MAX);
    if (size == 0)
        return 0;
    accesslog_record_t r = {
        .time = 1700000000000, .upstream_us = data[0] % 3 - 1, .status = data[0], .protocol = data[0] % 2 ? 11 : 20};
    span_t rest = span_from(span_of((const char *)data, size), 1);
    size_t part = (size_t)data[0] * 3 + 1;
#define X(name, most)                                                                                                  \
    r.name = rest.n > 0 ? span_upto(rest, part) : SPAN_NONE;                                                           \
    rest = span_from(rest, part);
    ACCESSLOG_TEXTS(X)
#undef X
    check_line(ACCESSLOG_JSON, &r, buf);
    check_line(ACCESSLOG_COMBINED, &r, buf);
    return 0;
}
