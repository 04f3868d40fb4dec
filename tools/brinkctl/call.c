/* One libcurl easy handle a call: an operator's command makes few. The node is on this machine or in the fleet's own
 * network, so no proxy of the environment is asked, and redirects are not followed (the token would go along). */
#include "tools/brinkctl/call.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"

enum { CALL_MAX_TOKEN = 4096, CALL_MAX_BODY = 64 * 1024 * 1024 };

/* May it stand in a field? */
static bool call_token_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 127)
            return false;
    return true;
}

static char *call_token_from(const char *path, const args_t *a)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL)
        args_wrong(a, "the token file %s can't be read: %s", path, strerror(errno));
    char text[CALL_MAX_TOKEN + 1];
    size_t n = fread(text, 1, sizeof text, f);
    if (f != stdin)
        fclose(f);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    if (n == 0 || n > CALL_MAX_TOKEN)
        args_wrong(a, "the token file %s is %s", path, n == 0 ? "empty" : "too long");
    if (!call_token_plain(text, n))
        args_wrong(a, "the token file %s holds more than one token: white space or control bytes in it", path);
    return mem_dup(text, n);
}

bool call_option(call_t *c, args_t *a)
{
    const char *value = args_value(a, "--admin");
    if (value != NULL) {
        c->admin = value;
        return true;
    }
    const struct {
        const char *name, **to;
    } files[] = {{"--ca", &c->ca}, {"--certificate", &c->certificate}, {"--key", &c->key}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if ((value = args_value(a, files[i].name)) != NULL) {
            *files[i].to = value;
            return true;
        }
    value = args_value(a, "--token-file");
    if (value != NULL) {
        free(c->token);
        c->token = call_token_from(value, a);
        return true;
    }
    return false;
}

void call_ready(call_t *c, const args_t *a)
{
    if (c->admin == NULL)
        c->admin = getenv("BRINK_ADMIN");
    if (c->admin == NULL || *c->admin == '\0')
        c->admin = "http://127.0.0.1:9090";
    const char *token = getenv("BRINK_TOKEN");
    if (c->token == NULL && token != NULL && *token != '\0') {
        if (!call_token_plain(token, strlen(token)))
            args_wrong(a, "BRINK_TOKEN is no token: white space or control bytes in it");
        c->token = mem_dup(token, strlen(token));
    }
}

void call_release(call_t *c)
{
    free(c->token);
    c->token = NULL;
}

static size_t call_receive(char *p, size_t size, size_t count, void *to)
{
    call_answer_t *answer = to;
    size_t n = size * count;
    if (answer->n + n > CALL_MAX_BODY)
        return 0;
    answer->body = mem_realloc(answer->body, answer->n + n + 1);
    memcpy(answer->body + answer->n, p, n);
    answer->n += n;
    answer->body[answer->n] = '\0';
    return n;
}

static char *call_joined(const char *a, const char *b)
{
    size_t an = strlen(a), bn = strlen(b);
    char *text = mem_alloc(an + bn + 1);
    memcpy(text, a, an);
    memcpy(text + an, b, bn + 1);
    return text;
}

int call_do(const call_t *c, const char *method, const char *path, const char *json, msec_t timeout, call_answer_t *out)
{
    *out = (call_answer_t){0};
    out->body = mem_dup("", 0);
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        fprintf(stderr, "brinkctl: libcurl can't be started\n");
        return CALL_EXIT_UNREACHABLE;
    }
    bool local = strncmp(c->admin, "unix:", 5) == 0;
    size_t n = strlen(c->admin);
    while (!local && n > 0 && c->admin[n - 1] == '/')
        n--;
    char *base = local ? mem_dup("http://localhost", 16) : mem_dup(c->admin, n);
    char *url = call_joined(base, path);
    char error[CURL_ERROR_SIZE] = "";
    struct curl_slist *fields = NULL;
    if (json != NULL)
        fields = curl_slist_append(fields, "Content-Type: application/json");
    fields = curl_slist_append(fields, "Expect:");
    if (c->token != NULL) {
        char *field = call_joined("Authorization: Bearer ", c->token);
        fields = curl_slist_append(fields, field);
        free(field);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    if (local)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->admin + 5);
    if (c->ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca);
    if (c->certificate != NULL)
        curl_easy_setopt(curl, CURLOPT_SSLCERT, c->certificate);
    if (c->key != NULL)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, c->key);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    if (json != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(json));
    }
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, call_receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    if (code != CURLE_OK)
        fprintf(stderr, "brinkctl: no answer from %s: %s\n", c->admin,
                error[0] != '\0' ? error : curl_easy_strerror(code));
    curl_slist_free_all(fields);
    curl_easy_cleanup(curl);
    free(url);
    free(base);
    return code == CURLE_OK ? CALL_EXIT_OK : CALL_EXIT_UNREACHABLE;
}

void call_answer_release(call_answer_t *answer)
{
    free(answer->body);
    *answer = (call_answer_t){0};
}

json_t *call_json(const call_answer_t *answer)
{
    return json_loadb(answer->body, answer->n, 0, NULL);
}

void call_problem(const call_t *c, const call_answer_t *answer)
{
    json_t *body = call_json(answer);
    const char *title = json_string_value(json_object_get(body, "title"));
    const char *detail = json_string_value(json_object_get(body, "detail"));
    fprintf(stderr, "brinkctl: %s answered %ld", c->admin, answer->status);
    if (title != NULL || detail != NULL)
        fprintf(stderr, ": %s%s%s", title != NULL ? title : "", title != NULL && detail != NULL ? ": " : "",
                detail != NULL ? detail : "");
    else if (answer->n > 0 && answer->n < 2000)
        fprintf(stderr, ": %s", answer->body);
    if (answer->status == 401 && c->token == NULL)
        fprintf(stderr, " (no token was given: --token-file FILE or BRINK_TOKEN)");
    fputc('\n', stderr);
    json_decref(body);
}
