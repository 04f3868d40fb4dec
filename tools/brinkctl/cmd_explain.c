/* explain: what the node holds for a URL, and what the next request for it would be answered with, and why. */
#include "tools/brinkctl/cmd.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/brinkctl/call.h"

enum { CMD_EXPLAIN_TIMEOUT = 10000 };

static const char *cmd_explain_string(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "-";
}

static double cmd_explain_number(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}

static bool cmd_explain_true(const json_t *j, const char *name)
{
    return json_is_true(json_object_get(j, name));
}

static void cmd_explain_decision(const json_t *j)
{
    const json_t *because = json_object_get(j, "because");
    const json_t *status = json_object_get(j, "status");
    printf("%s", cmd_explain_string(j, "decision"));
    if (status != NULL)
        printf(" %" JSON_INTEGER_FORMAT, json_integer_value(status));
    printf(": %s (%s, %s)\n", cmd_explain_string(because, "says"), cmd_explain_string(because, "reason"),
           cmd_explain_string(because, "section"));
    printf("Cache-Status: %s\n", cmd_explain_string(j, "cache_status"));
    printf("\n  site  %s\n  key   %s\n", cmd_explain_string(j, "site"), cmd_explain_string(j, "key"));
}

static void cmd_explain_site_rules(const json_t *j)
{
    size_t i;
    json_t *rule, *value;
    const char *name;
    json_array_foreach(json_object_get(j, "site_rules"), i, rule)
    {
        printf("  rule  %s:", cmd_explain_string(rule, "path"));
        json_object_foreach(rule, name, value)
        {
            if (json_is_boolean(value))
                printf(" %s %s", name, json_is_true(value) ? "yes" : "no");
            else if (json_is_number(value))
                printf(" %s %gs", name, json_number_value(value));
        }
        putchar('\n');
    }
}

static void cmd_explain_rules(const json_t *j)
{
    size_t i;
    json_t *rule;
    printf("\n");
    json_array_foreach(json_object_get(j, "rules"), i, rule)
    {
        const char *then = json_string_value(json_object_get(rule, "then"));
        printf("  %-4s %s (%s, %s)%s%s\n", then != NULL ? "yes" : "no", cmd_explain_string(rule, "says"),
               cmd_explain_string(rule, "rule"), cmd_explain_string(rule, "section"), then != NULL ? ": " : "",
               then != NULL ? then : "");
    }
}

static void cmd_explain_vary(const json_t *s)
{
    size_t i;
    json_t *field;
    json_array_foreach(json_object_get(s, "vary"), i, field)
    {
        const char *value = json_string_value(json_object_get(field, "value"));
        printf("       for %s%s%s%s\n", cmd_explain_string(field, "name"), value != NULL ? ": " : " absent",
               value != NULL ? value : "",
               cmd_explain_true(field, "same") ? "" : ", which is not what this request says");
    }
}

static void cmd_explain_response(json_t *s)
{
    size_t i;
    json_t *word;
    json_t *from = json_object_get(s, "lifetime_from");
    const char *field = json_string_value(json_object_get(from, "field"));
    printf(" %g, %g bytes", cmd_explain_number(s, "status"), cmd_explain_number(s, "bytes"));
    if (json_is_integer(json_object_get(s, "length")) &&
        cmd_explain_number(s, "length") != cmd_explain_number(s, "bytes"))
        printf(" of %g, from %g on", cmd_explain_number(s, "length"), cmd_explain_number(s, "part_first"));
    printf(", hit %g times\n", cmd_explain_number(s, "hits"));
    printf("       age %gs of %gs, from %s%s%s (%s)\n", cmd_explain_number(s, "age"), cmd_explain_number(s, "lifetime"),
           field != NULL ? field : "", field != NULL ? ": " : "", cmd_explain_string(from, "source"),
           cmd_explain_string(from, "section"));
    if (cmd_explain_number(s, "stale_while_revalidate") > 0)
        printf("       stale-while-revalidate for %gs\n", cmd_explain_number(s, "stale_while_revalidate"));
    if (cmd_explain_number(s, "stale_if_error") > 0)
        printf("       stale-if-error for %gs\n", cmd_explain_number(s, "stale_if_error"));
    if (json_is_string(json_object_get(s, "etag")))
        printf("       ETag %s\n", cmd_explain_string(s, "etag"));
    const json_t *coding = json_object_get(s, "coding");
    if (coding != NULL)
        printf("       sent as %s: %s\n", cmd_explain_string(coding, "name"),
               cmd_explain_string(json_object_get(coding, "because"), "says"));
    if (json_is_string(json_object_get(s, "last_modified")))
        printf("       Last-Modified %s\n", cmd_explain_string(s, "last_modified"));
    json_array_foreach(json_object_get(s, "says"), i, word)
        printf("%s%s", i == 0 ? "       " : ", ", json_string_value(word));
    if (json_array_size(json_object_get(s, "says")) > 0)
        putchar('\n');
}

static void cmd_explain_stored(const json_t *j)
{
    size_t i;
    json_t *s;
    if (json_array_size(json_object_get(j, "stored")) == 0)
        printf("\nnothing is stored\n");
    json_array_foreach(json_object_get(j, "stored"), i, s)
    {
        printf("\n%s %s, since %s:", cmd_explain_true(s, "chosen") ? "*" : "-", cmd_explain_string(s, "tier"),
               cmd_explain_string(s, "stored_at"));
        if (cmd_explain_true(s, "note")) {
            const json_t *why = json_object_get(s, "not_stored");
            double ttl = cmd_explain_number(s, "ttl");
            printf(" a note that what came last could not be shared (%s, %s)%s\n", cmd_explain_string(why, "reason"),
                   cmd_explain_string(why, "section"), ttl > 0 ? "" : "; its time is over");
        } else {
            cmd_explain_response(s);
        }
        const char *purge = cmd_explain_string(s, "purge");
        if (strcmp(purge, "none") != 0)
            printf("       purged: %s\n", purge);
        cmd_explain_vary(s);
    }
}

static void cmd_explain_upstream(const json_t *j)
{
    const json_t *up = json_object_get(j, "upstream");
    const char *name, *asked = cmd_explain_string(up, "asked");
    json_t *value;
    if (strcmp(asked, "no") == 0)
        return;
    printf("\nupstream: asked %s%s%s", asked,
           cmd_explain_true(up, "waits_for_running_fetch") ? ", by a fetch that is running" : "",
           cmd_explain_true(up, "past_shields") ? ", past the shields" : "");
    json_object_foreach(json_object_get(up, "validators"), name, value)
        printf(", %s: %s", name, json_string_value(value));
    putchar('\n');
}

static void cmd_explain_print(const json_t *j)
{
    cmd_explain_decision(j);
    cmd_explain_site_rules(j);
    cmd_explain_rules(j);
    cmd_explain_stored(j);
    cmd_explain_upstream(j);
}

/* "NAME=" and the value, encoded, behind what is there. */
static char *cmd_explain_add(char *path, const char *name, const char *value)
{
    char *encoded = curl_easy_escape(NULL, value, 0), *longer = NULL;
    if (encoded == NULL || asprintf(&longer, "%s%s=%s", path, name, encoded) < 0)
        abort(); /* no memory */
    curl_free(encoded);
    free(path);
    return longer;
}

int cmd_explain(args_t *a)
{
    call_t call = {0};
    bool json = false, url = false;
    const char *value;
    char *path = strdup("/v1/explain");
    while (args_more(a)) {
        if (call_option(&call, a))
            continue;
        if (args_flag(a, "--json"))
            json = true;
        else if ((value = args_value(a, "--header")) != NULL)
            path = cmd_explain_add(path, path[11] == '\0' ? "?header" : "&header", value);
        else if ((value = args_value(a, "--client")) != NULL)
            path = cmd_explain_add(path, path[11] == '\0' ? "?client" : "&client", value);
        else if (!url && (value = args_plain(a)) != NULL) {
            url = true;
            path = cmd_explain_add(path, path[11] == '\0' ? "?url" : "&url", value);
        } else
            args_unknown(a);
    }
    if (!url)
        args_wrong(a, "which URL? brinkctl explain https://HOST/PATH");
    call_ready(&call, a);
    call_answer_t answer;
    int code = call_do(&call, "GET", path, NULL, CMD_EXPLAIN_TIMEOUT, &answer);
    if (code == CALL_EXIT_OK && answer.status != 200) {
        call_problem(&call, &answer);
        code = CALL_EXIT_REFUSED;
    } else if (code == CALL_EXIT_OK) {
        json_t *body = call_json(&answer);
        if (body == NULL) {
            fprintf(stderr, "brinkctl: %s answered something that is no JSON\n", call.admin);
            code = CALL_EXIT_REFUSED;
        } else if (json) {
            json_dumpf(body, stdout, JSON_INDENT(2));
            putchar('\n');
        } else {
            cmd_explain_print(body);
        }
        json_decref(body);
    }
    call_answer_release(&answer);
    call_release(&call);
    free(path);
    return code;
}
