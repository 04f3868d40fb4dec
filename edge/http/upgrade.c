/* Names of protocols are compared without case, versions too (RFC 9110 7.8 leaves them to each protocol). */
#include "edge/http/upgrade.h"

#include "edge/http/chars.h"

static bool upgrade_valid(span_t protocol)
{
    size_t slash = span_find(protocol, '/');
    span_t name = span_upto(protocol, slash);
    if (name.n == 0 || !chars_all(name, CHARS_TOKEN))
        return false;
    if (slash == protocol.n)
        return true;
    span_t version = span_from(protocol, slash + 1);
    return version.n > 0 && chars_all(version, CHARS_TOKEN);
}

bool upgrade_permissible(span_t protocol)
{
    static const span_t carriers[] = {SPAN("http"),       SPAN("h2c"),         SPAN("h2"),
                                      SPAN("h3"),         SPAN("tls"),         SPAN("connect-udp"),
                                      SPAN("connect-ip"), SPAN("connect-tcp"), SPAN("masque")};
    span_t name = span_upto(protocol, span_find(protocol, '/'));
    if (!upgrade_valid(protocol))
        return false;
    for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
        if (span_caseeq(name, carriers[i]))
            return false;
    /* the drafts of HTTP/2 were called h2c-14 */
    return name.n < 4 || !span_caseeq(span_upto(name, 4), SPAN("h2c-"));
}

/* The next member of a comma separated list; false at its end. */
static bool upgrade_next(span_t *rest, span_t *member)
{
    while (rest->n > 0) {
        size_t comma = span_find(*rest, ',');
        *member = span_trim(span_upto(*rest, comma));
        *rest = span_from(*rest, comma < rest->n ? comma + 1 : rest->n);
        if (member->n > 0)
            return true;
    }
    return false;
}

bool upgrade_asked(const fields_t *f)
{
    span_t line, member;
    for (size_t at = 0; fields_next(f, SPAN("connection"), &at, &line);)
        while (upgrade_next(&line, &member))
            if (span_caseeq(member, SPAN("upgrade")))
                return true;
    return false;
}

static bool upgrade_is_websocket(method_t method, const fields_t *request)
{
    return method == METHOD_GET && fields_count(request, SPAN("sec-websocket-key")) == 1 &&
           fields_count(request, SPAN("sec-websocket-version")) == 1 &&
           span_eq(fields_get(request, SPAN("sec-websocket-version")), SPAN("13"));
}

span_t upgrade_select(span_t offered, const span_t *allowed, size_t n, method_t method, const fields_t *request,
                      arena_t *arena)
{
    span_t all = SPAN_NONE, member;
    if (method == METHOD_HEAD || method == METHOD_CONNECT || method == METHOD_TRACE || method == METHOD_PURGE)
        return all;
    while (upgrade_next(&offered, &member)) {
        bool fits = false;
        for (size_t i = 0; i < n && !fits; i++)
            fits = span_caseeq(member, allowed[i]);
        if (!fits || (span_caseeq(member, SPAN("websocket")) && !upgrade_is_websocket(method, request)))
            continue;
        all = all.n > 0 ? arena_printf(arena, "%.*s, %.*s", SPAN_ARG(all), SPAN_ARG(member)) : member;
        if (all.p == NULL)
            return SPAN_NONE;
    }
    return all;
}

bool upgrade_agreed(span_t offered, span_t answered)
{
    span_t member;
    if (!upgrade_valid(answered))
        return false;
    while (upgrade_next(&offered, &member))
        if (span_caseeq(member, answered))
            return true;
    return false;
}
