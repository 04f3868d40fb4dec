/* Method names are compared byte by byte: "get" is another method than "GET" (RFC 9110 9.1), and an unknown one. */
#include "edge/http/method.h"

#include "edge/http/chars.h"

static const struct {
    span_t name;
    bool safe, idempotent;
} methods[] = {
    [METHOD_GET] = {{"GET", 3}, true, true},           [METHOD_HEAD] = {{"HEAD", 4}, true, true},
    [METHOD_POST] = {{"POST", 4}, false, false},       [METHOD_PUT] = {{"PUT", 3}, false, true},
    [METHOD_PATCH] = {{"PATCH", 5}, false, false},     [METHOD_DELETE] = {{"DELETE", 6}, false, true},
    [METHOD_OPTIONS] = {{"OPTIONS", 7}, true, true},   [METHOD_TRACE] = {{"TRACE", 5}, true, true},
    [METHOD_CONNECT] = {{"CONNECT", 7}, false, false}, [METHOD_PURGE] = {{"PURGE", 5}, false, false},
    [METHOD_OTHER] = {{"", 0}, false, false},
};

method_t method_parse(span_t name)
{
    for (method_t m = METHOD_GET; m < METHOD_OTHER; m++)
        if (span_eq(methods[m].name, name))
            return m;
    return METHOD_OTHER;
}

bool method_valid(span_t name)
{
    return name.n > 0 && chars_all(name, CHARS_TOKEN);
}

bool method_safe(method_t m)
{
    return methods[m].safe;
}

bool method_idempotent(method_t m)
{
    return methods[m].idempotent;
}
