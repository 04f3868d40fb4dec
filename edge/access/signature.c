/* The message that is signed begins with what it is, so a signature of a cookie can never pass for one of a URL, and
 * its parts stand on lines, which none of them may contain: a host and a path have no control characters in normal
 * form, and the query and the cookie are checked for them.
 *
 * A signature answers "may this be seen", not "what is this": it is taken out of the target before the key is made, so
 * all who may see a response share one copy of it. */
#include "edge/access/signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static bool signature_plain(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool signature_named(span_t pair, span_t name, span_t *value)
{
    if (pair.n <= name.n || pair.p[name.n] != '=' || !span_eq(span_upto(pair, name.n), name))
        return false;
    *value = span_from(pair, name.n + 1);
    return true;
}

err_t signature_split(arena_t *a, span_t *target, signature_url_t *out)
{
    *out = (signature_url_t){.query = SPAN_NONE, .expires = SPAN_NONE, .mac = SPAN_NONE};
    size_t question = span_find(*target, '?');
    if (question == target->n)
        return ERR_OK;
    span_t whole = span_from(*target, question + 1);
    out->query = whole.n > 0 ? whole : SPAN_NONE; /* "/a?" is "/a" */
    char *kept = arena_alloc(a, target->n + 1), *p = kept;
    if (kept == NULL)
        return ERR_NO_MEMORY;
    memcpy(p, target->p, question + 1);
    p += question + 1;
    bool found = false, first = true;
    for (span_t rest = whole;;) {
        size_t amp = span_find(rest, '&');
        span_t pair = span_upto(rest, amp), value;
        span_t *which = signature_named(pair, SPAN(SIGNATURE_EXPIRES), &value)     ? &out->expires
                        : signature_named(pair, SPAN(SIGNATURE_PARAMETER), &value) ? &out->mac
                                                                                   : NULL;
        if (which != NULL) {
            if (which->p != NULL)
                return ERR_SYNTAX;
            *which = value;
            found = true;
        } else {
            if (!first)
                *p++ = '&';
            memcpy(p, pair.p, pair.n);
            p += pair.n;
            first = false;
        }
        if (amp == rest.n)
            break;
        rest = span_from(rest, amp + 1);
    }
    if (!found)
        return ERR_OK;
    size_t n = (size_t)(p - kept);
    bool empty = n == question + 1;
    out->query = empty ? SPAN_NONE : span_of(kept + question + 1, n - question - 1);
    *target = span_of(kept, empty ? question : n);
    return ERR_OK;
}

/* ---- the MAC ---- */

static err_t signature_mac(span_t secret, span_t message, char hex[SIGNATURE_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[SIGNATURE_HEX / 2];
    unsigned n = 0;
    if (secret.n > INT32_MAX ||
        HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)message.p, message.n, mac, &n) == NULL ||
        n != sizeof mac)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < sizeof mac; i++) {
        hex[2 * i] = digits[mac[i] >> 4];
        hex[2 * i + 1] = digits[mac[i] & 15];
    }
    hex[SIGNATURE_HEX] = '\0';
    return ERR_OK;
}

static span_t signature_message(arena_t *a, bool cookie, span_t host, span_t rest, span_t expires)
{
    return arena_printf(a, "%s\n%.*s\n%.*s\n%.*s", cookie ? "cookie" : "url", SPAN_ARG(host), SPAN_ARG(rest),
                        SPAN_ARG(expires));
}

static span_t signature_line(span_t *secret)
{
    size_t end = span_find(*secret, '\n');
    span_t line = span_trim(span_upto(*secret, end));
    *secret = span_from(*secret, end < secret->n ? end + 1 : end);
    return line;
}

err_t signature_sign(arena_t *a, span_t secret, bool cookie, span_t host, span_t rest, span_t expires,
                     char hex[SIGNATURE_HEX + 1])
{
    if (!signature_plain(host) || !signature_plain(rest) || !signature_plain(expires))
        return ERR_SYNTAX;
    span_t message = signature_message(a, cookie, host, rest, expires);
    return message.p == NULL ? ERR_NO_MEMORY : signature_mac(signature_line(&secret), message, hex);
}

/* ---- verifying ---- */

static err_t signature_expiry(span_t text, msec_t *out)
{
    int64_t v = 0;
    if (text.n == 0 || text.n > 11)
        return ERR_SYNTAX;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return ERR_SYNTAX;
        v = v * 10 + (text.p[i] - '0');
    }
    *out = v * MSEC_PER_SEC;
    return ERR_OK;
}

static err_t signature_check(arena_t *a, span_t secret, bool cookie, span_t host, span_t rest, span_t expires,
                             span_t mac, msec_t now)
{
    msec_t until;
    if (mac.n != SIGNATURE_HEX || signature_expiry(expires, &until) != ERR_OK || !signature_plain(rest))
        return ERR_REFUSED;
    span_t message = signature_message(a, cookie, host, rest, expires);
    if (message.p == NULL)
        return ERR_NO_MEMORY;
    bool good = false;
    for (int i = 0; i < SIGNATURE_SECRETS && secret.n > 0; i++) {
        char hex[SIGNATURE_HEX + 1];
        span_t line = signature_line(&secret);
        if (line.n == 0)
            continue;
        if (signature_mac(line, message, hex) != ERR_OK)
            return ERR_NO_MEMORY;
        good |= CRYPTO_memcmp(hex, mac.p, SIGNATURE_HEX) == 0;
    }
    if (!good)
        return ERR_REFUSED;
    return until > now ? ERR_OK : ERR_TIMEOUT;
}

static err_t signature_cookie(arena_t *a, span_t secret, span_t host, span_t path, span_t value, msec_t now)
{
    size_t one = span_find(value, '~');
    span_t expires = span_upto(value, one), rest = span_from(value, one + 1);
    size_t two = span_find(rest, '~');
    span_t prefix = span_upto(rest, two), mac = span_from(rest, two + 1);
    if (prefix.n == 0 || prefix.p[0] != '/' || prefix.p[prefix.n - 1] != '/' || !span_starts(path, prefix))
        return ERR_REFUSED;
    return signature_check(a, secret, true, host, prefix, expires, mac, now);
}

static err_t signature_cookies(arena_t *a, span_t secret, span_t host, span_t path, const fields_t *request, msec_t now)
{
    err_t best = ERR_NOT_FOUND;
    int tried = 0;
    span_t line;
    for (size_t at = 0; fields_next(request, SPAN("cookie"), &at, &line);)
        while (line.n > 0) {
            size_t end = span_find(line, ';');
            span_t value;
            if (signature_named(span_trim(span_upto(line, end)), SPAN(SIGNATURE_COOKIE), &value)) {
                if (tried++ == SIGNATURE_COOKIES)
                    return best;
                err_t err = signature_cookie(a, secret, host, path, value, now);
                if (err == ERR_OK || err == ERR_NO_MEMORY)
                    return err;
                if (best != ERR_TIMEOUT) /* what it once opened says more than that another one never did */
                    best = err;
            }
            line = span_from(line, end + 1);
        }
    return best;
}

err_t signature_verify(arena_t *a, span_t secret, span_t host, span_t path, const signature_url_t *url,
                       const fields_t *request, msec_t now)
{
    if (url->mac.p == NULL && url->expires.p == NULL)
        return signature_cookies(a, secret, host, path, request, now);
    if (url->mac.p == NULL || url->expires.p == NULL)
        return ERR_REFUSED;
    span_t rest = url->query.p == NULL ? path : arena_printf(a, "%.*s?%.*s", SPAN_ARG(path), SPAN_ARG(url->query));
    return rest.p == NULL ? ERR_NO_MEMORY : signature_check(a, secret, false, host, rest, url->expires, url->mac, now);
}
