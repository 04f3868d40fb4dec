/* A node without a network (tests/sim/world.h) that does what it is told on standard input, one JSON object a line, and
 * says on standard output what came of it. compare.py holds it against a model of the RFCs.
 *
 *   {"op":"new","site":YAML}                                              a fresh node; the time is 1700000000000
 *   {"op":"pass","ms":N}                                                  time goes by
 *   {"op":"request","loop":0,"method":M,"target":T,"fields":[[N,V],…],"body":S}   a client asks
 *   {"op":"answer","call":I,"status":N,"fields":[[N,V],…],"body":S}       the origin answers call I; no field is added
 *   {"op":"fail","call":I}                                                the origin closes the connection instead
 *
 * Each is answered by {"now":MS,"calls":[…],"clients":[…]}: the requests that newly reached the origin, and the clients
 * that newly have their whole answer. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "tests/sim/world.h"

static world_t *world;
static size_t calls_told;
static bool told[WORLD_CLIENTS];

static const char *driver_text(json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? arena_printf(&world->arena, "%s", s).p : NULL;
}

static json_t *driver_span(span_t s)
{
    json_t *v = json_stringn(s.p != NULL ? s.p : "", s.n);
    return v != NULL ? v : json_string("(not UTF-8)");
}

static json_t *driver_fields(const fields_t *f)
{
    json_t *out = json_array();
    for (size_t i = 0; i < f->n; i++)
        json_array_append_new(out, json_pack("[o, o]", driver_span(f->v[i].name), driver_span(f->v[i].value)));
    return out;
}

static void driver_tell(void)
{
    json_t *calls = json_array(), *clients = json_array();
    for (; calls_told < world->calls; calls_told++) {
        const world_call_t *c = world->call[calls_told];
        json_array_append_new(calls, json_pack("{s:I, s:s, s:s, s:o, s:s}", "call", (json_int_t)calls_told, "method",
                                               c->method, "target", c->target, "fields", driver_fields(&c->fields),
                                               "body", c->body));
    }
    for (size_t i = 0; i < world->clients; i++) {
        const world_client_t *c = world->client[i];
        if (told[i] || !c->done)
            continue;
        told[i] = true;
        json_array_append_new(clients,
                              json_pack("{s:I, s:i, s:b, s:I, s:o, s:o}", "client", (json_int_t)i, "status", c->status,
                                        "aborted", c->aborted, "length", (json_int_t)c->content_length, "fields",
                                        driver_fields(&c->fields), "body", driver_span(span_of(c->body, c->n))));
    }
    json_t *out = json_pack("{s:I, s:o, s:o}", "now", (json_int_t)world->now.wall, "calls", calls, "clients", clients);
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(out);
}

static world_call_t *driver_call(json_t *o)
{
    json_int_t i = json_integer_value(json_object_get(o, "call"));
    CHECK(i >= 0 && (size_t)i < world->calls && world->call[i]->open);
    return world->call[i];
}

static void driver_request(json_t *o)
{
    size_t i, n = 0;
    json_t *pair, *fields = json_object_get(o, "fields");
    char lines[16384] = "";
    json_array_foreach(fields, i, pair)
    {
        n += (size_t)snprintf(lines + n, sizeof lines - n, "%s: %s\n", json_string_value(json_array_get(pair, 0)),
                              json_string_value(json_array_get(pair, 1)));
        CHECK(n < sizeof lines);
    }
    world_request(world, (unsigned)json_integer_value(json_object_get(o, "loop")) % WORLD_LOOPS,
                  driver_text(o, "method"), driver_text(o, "target"), lines, driver_text(o, "body"));
}

static void driver_answer(json_t *o)
{
    world_call_t *c = driver_call(o);
    size_t i;
    json_t *pair, *fields = json_object_get(o, "fields");
    fields_t f;
    fields_init(&f, &world->arena);
    json_array_foreach(fields, i, pair)
    {
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));
        CHECK(fields_add(&f, arena_copy(&world->arena, span_str(name)), arena_copy(&world->arena, span_str(value))) ==
              ERR_OK);
    }
    int status = (int)json_integer_value(json_object_get(o, "status"));
    const char *body = driver_text(o, "body");
    size_t length = body != NULL ? strlen(body) : 0;
    c->events->head(c->arg, status, &f, status == 304 ? -1 : (int64_t)length);
    if (c->open && length > 0 && !c->is_head)
        world_bytes(world, c, body, length);
    if (c->open)
        world_end(world, c, UPSTREAM_OK);
    world_run(world);
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    json_error_t error;
    while (getline(&line, &cap, stdin) > 0) {
        json_t *o = json_loads(line, 0, &error);
        const char *op = json_string_value(json_object_get(o, "op"));
        CHECK(op != NULL);
        if (strcmp(op, "new") == 0) {
            if (world != NULL)
                world_free(world);
            world = world_new(json_string_value(json_object_get(o, "site")),
                              "memory: {size: 64MiB, max_object: 8MiB}\nupstream: {retries: 0}");
            calls_told = 0;
            memset(told, 0, sizeof told);
        } else if (strcmp(op, "pass") == 0) {
            world_pass(world, json_integer_value(json_object_get(o, "ms")));
        } else if (strcmp(op, "request") == 0) {
            driver_request(o);
        } else if (strcmp(op, "answer") == 0) {
            driver_answer(o);
        } else {
            CHECK(strcmp(op, "fail") == 0);
            world_end(world, driver_call(o), UPSTREAM_CLOSED);
        }
        json_decref(o);
        driver_tell();
    }
    free(line);
    if (world != NULL)
        world_free(world);
    return 0;
}
