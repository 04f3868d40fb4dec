/* status: the node's own words. For people the JSON is laid out as an outline, whatever members it has, so that a newer
 * node's members are shown by an older brinkctl too. */
#include "tools/brinkctl/cmd.h"

#include <stdio.h>
#include <stdlib.h>

#include "tools/brinkctl/call.h"

static bool cmd_status_scalar(const json_t *v)
{
    return !json_is_object(v) && !json_is_array(v);
}

static void cmd_status_value(const json_t *v)
{
    if (json_is_string(v))
        printf("%s", json_string_value(v));
    else if (json_is_integer(v))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        printf("%.6g", json_real_value(v));
    else
        printf("%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-");
}

static void cmd_status_outline(json_t *v, int depth);

static void cmd_status_list(json_t *v, int depth)
{
    size_t i;
    json_t *item;
    json_array_foreach(v, i, item)
    {
        printf("%*s- ", depth * 2, "");
        if (cmd_status_scalar(item)) {
            cmd_status_value(item);
            putchar('\n');
        } else if (json_is_object(item)) {
            const char *key;
            json_t *member;
            const char *comma = "";
            json_object_foreach(item, key, member)
            {
                if (cmd_status_scalar(member)) {
                    printf("%s%s ", comma, key);
                    cmd_status_value(member);
                    comma = ", ";
                }
            }
            putchar('\n');
            json_object_foreach(item, key, member)
            {
                if (!cmd_status_scalar(member)) {
                    printf("%*s%s\n", depth * 2 + 2, "", key);
                    cmd_status_outline(member, depth + 2);
                }
            }
        } else {
            putchar('\n');
            cmd_status_outline(item, depth + 1);
        }
    }
}

static void cmd_status_outline(json_t *v, int depth)
{
    if (json_is_array(v)) {
        cmd_status_list(v, depth);
        return;
    }
    const char *key;
    json_t *member;
    json_object_foreach(v, key, member)
    {
        if (cmd_status_scalar(member)) {
            printf("%*s%-*s ", depth * 2, "", 22 - depth * 2, key);
            cmd_status_value(member);
            putchar('\n');
        } else {
            printf("%*s%s\n", depth * 2, "", key);
            cmd_status_outline(member, depth + 1);
        }
    }
}

int cmd_status(args_t *a)
{
    call_t call = {0};
    bool json = false;
    while (args_more(a)) {
        if (call_option(&call, a))
            continue;
        if (args_flag(a, "--json"))
            json = true;
        else
            args_unknown(a);
    }
    call_ready(&call, a);
    call_answer_t answer;
    int code = call_do(&call, "GET", "/v1/status", NULL, 10000, &answer);
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
            cmd_status_outline(body, 0);
        }
        json_decref(body);
    }
    call_answer_release(&answer);
    call_release(&call);
    return code;
}
