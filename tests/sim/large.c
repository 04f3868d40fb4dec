#include "large.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

world_t *large_world(void)
{
    return world_open(&(world_options_t){
        .disk = true,
        .more = "memory: {size: 8MiB, max_object: 256KiB}\ndisk: {path: unused, size: 64MiB, wait: 10s, slice: 1MiB}"});
}

/* The byte at that place, of one version or another. */
static char large_at(uint64_t place, char version)
{
    return (char)(version + (char)(place * 2654435761u >> 24) % 26);
}

char *large_bytes(char version)
{
    char *b = malloc(LENGTH);
    for (uint64_t i = 0; i < LENGTH; i++)
        b[i] = large_at(i, version);
    return b;
}

void large_sends(world_t *w, world_call_t *call, uint64_t from, uint64_t to, char version)
{
    char *all = large_bytes(version);
    for (uint64_t i = from; i < to;) {
        uint64_t n = to - i < BLOCK ? to - i : BLOCK;
        if (world_bytes(w, call, all + i, n))
            i += n;
        world_pass(w, 5);
        if (!call->open)
            break;
        world_disk(w);
    }
    free(all);
}

void large_lands(world_t *w)
{
    for (int i = 0; i < 5; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    world_disk(w);
}

void large_answers(world_t *w, const char *fields, char version)
{
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, fields, LENGTH);
    large_sends(w, call, 0, LENGTH, version);
    world_end(w, call, UPSTREAM_OK);
    large_lands(w);
}

void large_is(const world_client_t *c, int status, uint64_t from, uint64_t to, char version)
{
    cr_assert(c->head, "no answer");
    cr_expect_eq(c->status, status, "status %d", c->status);
    cr_expect(c->done && !c->aborted, "complete");
    cr_assert_eq(c->n, to - from, "%zu bytes", c->n);
    for (uint64_t i = from; i < to; i++)
        if (c->body[i - from] != large_at(i, version)) {
            cr_expect(false, "a wrong byte at %llu", (unsigned long long)i);
            break;
        }
}

world_client_t *large_get(world_t *w, unsigned loop, const char *lines)
{
    world_client_t *c = world_get(w, loop, "/a", lines);
    for (int i = 0; i < 50 && !c->done; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    return c;
}

void large_stored(world_t *w, const char *fields)
{
    size_t calls = w->calls;
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, calls + 1);
    large_answers(w, fields, 'a');
    large_is(c, 200, 0, LENGTH, 'a');
    cr_expect(world_says(c, "cache-status", "fwd=uri-miss; fwd-status=200; stored"));
}

static bool any(const object_t *o, void *arg)
{
    (void)o, (void)arg;
    return true;
}

static store_fate_t everything(object_t *o, void *arg)
{
    (void)o, (void)arg;
    return STORE_REMOVE;
}

void large_forget(world_t *w)
{
    uint64_t cursor = 0;
    warm_t *warm = w->warm;
    w->warm = NULL;
    do
        store_sweep(w->store, &cursor, 1000, everything, w);
    while (cursor != 0);
    w->warm = warm;
}

void large_drop(world_t *w, uint64_t number)
{
    object_t *head = NULL;
    cache_key_t key;
    arena_t a;
    arena_init(&a, 0);
    fields_t none;
    fields_init(&none, &a);
    key_rules_t rules = {0};
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("site.example"), SPAN("/a"), &rules, &none, &key), ERR_OK);
    head = store_peek(w->store, key.digest, any, NULL);
    cr_assert(head != NULL && object_pieces(head));
    warm_remove(w->warm, piece_digest(head, piece_edition_of(head), number), 0);
    world_disk(w);
    object_unref(head);
    arena_release(&a);
}

void large_asked(world_t *w, const char *range, const char *if_range)
{
    const fields_t *f = &world_last_call(w)->fields;
    span_t r = fields_get(f, SPAN("range")), i = fields_get(f, SPAN("if-range"));
    cr_expect(span_eq(r, span_str(range)), "Range %.*s", SPAN_ARG(r));
    cr_expect(span_eq(i, span_str(if_range)), "If-Range %.*s", SPAN_ARG(i));
}

void large_brings(world_t *w, uint64_t from, uint64_t to, char version, const char *fields)
{
    char lines[256];
    world_call_t *call = world_last_call(w);
    snprintf(lines, sizeof lines, "%s\ncontent-range: bytes %llu-%llu/%d", fields, (unsigned long long)from,
             (unsigned long long)to - 1, LENGTH);
    world_head(w, call, 206, lines, (int64_t)(to - from));
    large_sends(w, call, from, to, version);
    if (call->open)
        world_end(w, call, UPSTREAM_OK);
    large_lands(w);
}
