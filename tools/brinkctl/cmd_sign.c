/* sign: a URL, or a cookie for a folder, that rules with `signed: true` let through. It asks no node: the secret is all
 * it takes, and an application signs in the same way (edge/access/README.md). */
#include "tools/brinkctl/cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "edge/access/signature.h"
#include "edge/conf/units.h"
#include "edge/policy/key.h"
#include "tools/brinkctl/call.h"

enum { CMD_SIGN_SECRET_MOST = 4096, CMD_SIGN_SECRET_LEAST = 16 };

static span_t cmd_sign_secret(args_t *a, const char *path, char buf[CMD_SIGN_SECRET_MOST])
{
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(buf, 1, CMD_SIGN_SECRET_MOST, f) : 0;
    if (f != NULL)
        fclose(f);
    while (n > 0 && strchr(" \t\r\n", buf[n - 1]) != NULL)
        n--;
    if (n < CMD_SIGN_SECRET_LEAST || n == CMD_SIGN_SECRET_MOST)
        args_wrong(a, "%s can't be read, or holds no secret of %d bytes and more: openssl rand -hex 32 > FILE", path,
                   CMD_SIGN_SECRET_LEAST);
    return span_of(buf, n);
}

/* "https://HOST/PATH?QUERY" in normal form: *rest is what is signed, *shown the URL. */
static void cmd_sign_url(args_t *a, arena_t *arena, const char *url, cache_key_t *key, span_t *rest, span_t *shown)
{
    static const key_rules_t all = {.query = KEY_QUERY_ALL};
    fields_t none;
    fields_init(&none, arena);
    const char *host = strstr(url, "://");
    span_t scheme = span_of(url, host != NULL ? (size_t)(host - url) : 0);
    bool web = span_eq(scheme, SPAN("http")) || span_eq(scheme, SPAN("https"));
    if (!web || key_make(arena, scheme, SPAN("-"), span_str(url), &all, &none, key) != ERR_OK)
        args_wrong(a, "'%s' is no URL: write https://HOST/PATH", url);
    span_t query = span_str(url);
    query = span_from(query, span_find(query, '?') + 1);
    *rest = query.n > 0 ? arena_printf(arena, "%.*s?%.*s", SPAN_ARG(key->path), SPAN_ARG(query)) : key->path;
    *shown = arena_printf(arena, "%.*s://%.*s%.*s", SPAN_ARG(key->scheme), SPAN_ARG(key->host), SPAN_ARG(*rest));
}

int cmd_sign(args_t *a)
{
    const char *url = NULL, *secret_file = NULL, *lifetime = "1h", *v;
    bool cookie = false;
    while (args_more(a)) {
        if ((v = args_value(a, "--secret-file")) != NULL)
            secret_file = v;
        else if ((v = args_value(a, "--for")) != NULL)
            lifetime = v;
        else if (args_flag(a, "--cookie"))
            cookie = true;
        else if (url == NULL && (v = args_plain(a)) != NULL)
            url = v;
        else
            args_unknown(a);
    }
    if (url == NULL || secret_file == NULL)
        args_wrong(a,
                   "say what and with what: brinkctl sign https://HOST/PATH --secret-file FILE [--for 1h] [--cookie]");
    msec_t ms;
    if (units_duration(span_str(lifetime), &ms) != ERR_OK || ms < MSEC_PER_SEC)
        args_wrong(a, "--for %s: write a duration of a second and more, for example 1h", lifetime);
    char buf[CMD_SIGN_SECRET_MOST], hex[SIGNATURE_HEX + 1];
    span_t secret = cmd_sign_secret(a, secret_file, buf), rest, shown;
    arena_t arena;
    arena_init(&arena, 0);
    cache_key_t key;
    cmd_sign_url(a, &arena, url, &key, &rest, &shown);
    if (cookie && (rest.p != key.path.p || rest.p[rest.n - 1] != '/'))
        args_wrong(a, "a cookie opens a folder: write a URL without a query that ends in /");
    span_t expires = arena_printf(&arena, "%lld", (long long)time(NULL) + (long long)(ms / MSEC_PER_SEC));
    int code = CALL_EXIT_OK;
    if (signature_sign(&arena, secret, cookie, key.host, rest, expires, hex) != ERR_OK) {
        fprintf(stderr, "brinkctl: that URL can't be signed\n");
        code = ARGS_EXIT_USAGE;
    } else if (cookie) {
        printf("%s=%.*s~%.*s~%s\n", SIGNATURE_COOKIE, SPAN_ARG(expires), SPAN_ARG(rest), hex);
    } else {
        printf("%.*s%c%s=%.*s&%s=%s\n", SPAN_ARG(shown), rest.p == key.path.p ? '?' : '&', SIGNATURE_EXPIRES,
               SPAN_ARG(expires), SIGNATURE_PARAMETER, hex);
    }
    arena_release(&arena);
    explicit_bzero(buf, sizeof buf);
    return code;
}
