/* Problem documents are written by hand: two strings and a number. What a client sent may stand in them, so every byte
 * is escaped as JSON wants it, and what is no UTF-8 becomes U+FFFD rather than an invalid document. */
#include "edge/http/handler.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/base/utf8.h"

enum { DETAIL_MAX = 1024, ESCAPE_MAX = 6 /* \u0001 */ };

/* Room for ESCAPE_MAX times s.n. */
static char *put_escaped(char *to, span_t s)
{
    while (s.n > 0) {
        size_t n = utf8_length(s.p, s.n);
        char c = s.p[0];
        if (n == 0) {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            n = 1;
        } else if (n > 1) {
            memcpy(to, s.p, n);
            to += n;
        } else if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = c;
        } else if ((unsigned char)c < 0x20 || c == 0x7f)
            to += snprintf(to, ESCAPE_MAX + 1, "\\u%04x", (unsigned)(unsigned char)c);
        else
            *to++ = c;
        s = span_from(s, n);
    }
    return to;
}

static char *put_text(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static void take_body(handler_response_t *resp, int status, const char *content_type, char *body, size_t n)
{
    free(resp->body);
    resp->status = status;
    resp->content_type = content_type;
    resp->body = body;
    resp->body_len = n;
}

void handler_problem(handler_response_t *resp, int status, const char *title, const char *detail_fmt, ...)
{
    char detail[DETAIL_MAX];
    va_list ap;
    va_start(ap, detail_fmt);
    if (vsnprintf(detail, sizeof detail, detail_fmt, ap) < 0)
        detail[0] = '\0';
    va_end(ap);
    span_t t = span_str(title), d = span_str(detail);
    char *body = mem_alloc((t.n + d.n) * ESCAPE_MAX + 64), *to = body;
    to = put_escaped(put_text(to, "{\"title\":\""), t);
    to += sprintf(to, "\",\"status\":%d", status);
    if (d.n > 0)
        to = put_text(put_escaped(put_text(to, ",\"detail\":\""), d), "\"");
    to = put_text(to, "}\n");
    take_body(resp, status, "application/problem+json", body, (size_t)(to - body));
}

void handler_text(handler_response_t *resp, int status, const char *content_type, const char *text, size_t n)
{
    take_body(resp, status, content_type, mem_dup(text, n), n);
}

void handler_add(handler_response_t *resp, const char *name, const char *value)
{
    CHECK(resp->extras >= 0 && resp->extras < (int)(sizeof resp->extra_name / sizeof *resp->extra_name));
    resp->extra_name[resp->extras] = name;
    resp->extra_value[resp->extras++] = mem_dup(value, strlen(value));
}

void handler_response_release(handler_response_t *resp)
{
    free(resp->body);
    for (int i = 0; i < resp->extras; i++)
        free(resp->extra_value[i]);
    *resp = (handler_response_t){.status = 0};
}
