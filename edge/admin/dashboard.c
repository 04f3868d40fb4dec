/* The page is put together once. Its Content-Security-Policy names style and script by their digests (CSP 3, 2.3.1), so
 * that not even a string that slipped into the page could run. */
#include "edge/admin/dashboard.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

static char *dashboard_html;
static char dashboard_policy[512];
static pthread_once_t dashboard_once = PTHREAD_ONCE_INIT;

static void dashboard_digest(const char *text, unsigned char out[64])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    CHECK(EVP_Digest(text, strlen(text), raw, &n, EVP_sha256(), NULL) == 1 && n == 32);
    CHECK(EVP_EncodeBlock(out, raw, (int)n) == 44);
}

static void dashboard_make(void)
{
    unsigned char style[64], script[64];
    dashboard_digest(dashboard_style, style);
    dashboard_digest(dashboard_script, script);
    int n = snprintf(dashboard_policy, sizeof dashboard_policy,
                     "default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; connect-src 'self'; img-src "
                     "data:; base-uri 'none'; "
                     "form-action 'none'; frame-ancestors 'none'",
                     style, script);
    CHECK(n > 0 && (size_t)n < sizeof dashboard_policy);
    CHECK(asprintf(&dashboard_html,
                   "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>brink</title>\n"
                   "<link rel=\"icon\" "
                   "href=\"data:,\">\n<style>%s</style>\n</head>\n<body>\n%s<script>%s</script>\n</body>\n</html>\n",
                   dashboard_style, dashboard_body, dashboard_script) > 0);
}

void dashboard_page(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)ctx, (void)req;
    pthread_once(&dashboard_once, dashboard_make);
    handler_response_t resp = {.status = 0};
    handler_text(&resp, 200, "text/html; charset=utf-8", dashboard_html, strlen(dashboard_html));
    handler_add(&resp, "content-security-policy", dashboard_policy);
    handler_add(&resp, "referrer-policy", "no-referrer");
    reply->send(reply, &resp);
}
