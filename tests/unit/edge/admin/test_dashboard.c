/* The page allows nothing but itself, and says so with the right digests. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "edge/admin/dashboard.h"
#include "edge/base/check.h"

typedef struct answer {
    handler_reply_t reply;
    handler_response_t resp;
} answer_t;

static void take(handler_reply_t *r, handler_response_t *resp)
{
    CONTAINER_OF(r, answer_t, reply)->resp = *resp;
}

static answer_t page(void)
{
    answer_t a = {.reply = {take}};
    handler_request_t req = {.method = METHOD_GET, .path = SPAN("/")};
    dashboard_page(NULL, &req, &a.reply);
    cr_assert_eq(a.resp.status, 200);
    return a;
}

/* The only element of that name: its digest as the policy writes it. */
static void expect_digest(const char *html, const char *name, const char *policy)
{
    char open[32], close[32], want[128];
    snprintf(open, sizeof open, "<%s>", name);
    snprintf(close, sizeof close, "</%s>", name);
    const char *from = strstr(html, open);
    cr_assert_not_null(from);
    from += strlen(open);
    const char *to = strstr(from, close);
    cr_assert_not_null(to);
    cr_assert_null(strstr(to, open), "one %s only", name);
    unsigned char raw[32], text[64];
    EVP_Digest(from, (size_t)(to - from), raw, NULL, EVP_sha256(), NULL);
    EVP_EncodeBlock(text, raw, 32);
    snprintf(want, sizeof want, "%s-src 'sha256-%s'", name, text);
    cr_assert_not_null(strstr(policy, want), "%s in %s", want, policy);
}

Test(dashboard, its_policy_allows_itself_only)
{
    answer_t a = page();
    const char *policy = NULL;
    for (int i = 0; i < a.resp.extras; i++)
        if (strcmp(a.resp.extra_name[i], "content-security-policy") == 0)
            policy = a.resp.extra_value[i];
    cr_assert_not_null(policy);
    cr_assert_eq(strncmp(policy, "default-src 'none'; ", 20), 0);
    cr_assert_null(strstr(policy, "unsafe"));
    cr_assert_null(strstr(policy, "*"));
    cr_assert_not_null(strstr(policy, "frame-ancestors 'none'"));
    expect_digest(a.resp.body, "style", policy);
    expect_digest(a.resp.body, "script", policy);
    cr_assert_leq(a.resp.extras, 2, "room for the fields that every answer carries");
    handler_response_release(&a.resp);
}

Test(dashboard, needs_nothing_from_outside)
{
    answer_t a = page();
    const char *svg = "http://www.w3.org/2000/svg"; /* a name, not an address */
    for (const char *p = a.resp.body; (p = strstr(p, "://")) != NULL; p++)
        cr_assert_eq(strncmp(p - 4, svg, strlen(svg)), 0, "%.60s", p - 10);
    static const char *const never[] = {" src=",    "@import", "url(",           "innerHTML", "eval(",
                                        " onclick", " style=", "document.write", "import("};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        cr_assert_null(strstr(a.resp.body, never[i]), "%s", never[i]);
    handler_response_release(&a.resp);
}
