/* Signed URLs and signed cookies for what only those may see to whom the application gave a link. HMAC-SHA256 with a
 * secret that the application and the nodes share. Any thread; keeps nothing.
 *
 *   URL     …?page=1&brink-expires=1767225600&brink-signature=HEX
 *           HEX = HMAC-SHA256(secret, "url\nHOST\nPATH?QUERY\nEXPIRES"), the query without the two parameters, as it
 *           stands in the URL; without a query there is no "?"
 *   cookie  brink-signed=EXPIRES~PREFIX~HEX
 *           HEX = HMAC-SHA256(secret, "cookie\nHOST\nPREFIX\nEXPIRES"); opens every path that begins with PREFIX,
 *           which begins and ends with "/"
 *
 * EXPIRES is Unix time in seconds, HOST and PATH are in the normal form of the cache key. */
#ifndef BRINK_ACCESS_SIGNATURE_H
#define BRINK_ACCESS_SIGNATURE_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/base/time.h"
#include "edge/http/fields.h"

#define SIGNATURE_EXPIRES "brink-expires"
#define SIGNATURE_PARAMETER "brink-signature"
#define SIGNATURE_COOKIE "brink-signed"

enum {
    SIGNATURE_HEX = 64,
    SIGNATURE_SECRETS = 4, /* lines of a secret file: the first signs, all verify, so that secrets can be changed */
    SIGNATURE_COOKIES = 16 /* cookies of that name that are tried */
};

/* What a request says of itself. */
typedef struct signature_url {
    span_t query;   /* without both parameters, as the client wrote it; .p NULL: none */
    span_t expires; /* .p NULL: it isn't signed */
    span_t mac;
} signature_url_t;

/* Takes the two parameters out of a request target ("/p?q"). *target: what is left of it, which is what the cache and
 * the origin see. ERR_SYNTAX: one of them stands there twice. ERR_NO_MEMORY. */
err_t signature_split(arena_t *a, span_t *target, signature_url_t *out);
/* May this be seen at `now` (wall)? By the URL's signature, else by a cookie. ERR_NOT_FOUND: it isn't signed;
 * ERR_REFUSED: not by this secret, or not for this; ERR_TIMEOUT: it was, once. */
err_t signature_verify(arena_t *a, span_t secret, span_t host, span_t path, const signature_url_t *url,
                       const fields_t *request, msec_t now);
/* The signature's hex for a URL (`rest` = PATH or PATH?QUERY) or, with `cookie`, for a prefix. Signs with the first
 * line of the secret. */
err_t signature_sign(arena_t *a, span_t secret, bool cookie, span_t host, span_t rest, span_t expires,
                     char hex[SIGNATURE_HEX + 1]);

#endif
