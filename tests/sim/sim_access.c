/* Who may ask at all: networks, rates and signatures, before anything is looked up. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "world.h"

#define SECRET "0123456789abcdef0123456789abcdef"

static world_t *world_with(const char *yaml)
{
    return world_new(yaml, NULL);
}

static const char *sign(bool cookie, const char *rest, long long expires)
{
    static char out[300];
    char hex[SIGNATURE_HEX + 1], when[24];
    arena_t a;
    arena_init(&a, 0);
    snprintf(when, sizeof when, "%lld", expires);
    cr_assert_eq(signature_sign(&a, SPAN(SECRET), cookie, SPAN("site.example"), span_str(rest), span_str(when), hex),
                 ERR_OK);
    arena_release(&a);
    snprintf(out, sizeof out, cookie ? "cookie: brink-signed=%s~%s~%s" : "brink-expires=%s%.0s&brink-signature=%s",
             when, rest, hex);
    return out;
}

Test(sim_access, networks)
{
    world_t *w = world_with("    access: { allow: [192.0.2.0/24], deny: [192.0.2.9] }");
    world_get(w, 0, "/", NULL);
    cr_expect_eq(w->calls, 1, "192.0.2.7 is allowed");
    world_free(w);
    w = world_with("    access: { deny: [192.0.2.0/24] }");
    world_client_t *c = world_get(w, 0, "/", NULL);
    cr_expect_eq(c->status, 403);
    cr_expect(world_says(c, "cache-status", "detail=access"));
    cr_expect_eq(w->calls, 0);
    world_free(w);
    w = world_with("    access: { allow: [198.51.100.0/24] }");
    cr_expect_eq(world_get(w, 0, "/", NULL)->status, 403);
    world_free(w);
}

Test(sim_access, rate)
{
    world_t *w = world_with("    access: { rate: 2, burst: 3 }");
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: max-age=60", "a");
    cr_expect_eq(world_get(w, 1, "/a", NULL)->status, 200);
    cr_expect_eq(world_get(w, 0, "/a", NULL)->status, 200);
    world_client_t *c = world_get(w, 1, "/a", NULL);
    cr_expect_eq(c->status, 429, "one count for all workers");
    cr_expect(span_eq(world_field(c, "retry-after"), SPAN("1")));
    world_pass(w, 500);
    cr_expect_eq(world_get(w, 0, "/a", NULL)->status, 200);
    cr_expect_eq(world_get(w, 0, "/a", NULL)->status, 429);
    world_free(w);
    w = world_with("    access: { rate: 1, by: 'header:X-Api-Key' }");
    world_get(w, 0, "/a", "x-api-key: one");
    world_answer(w, w->call[0], 200, "cache-control: max-age=60", "a");
    cr_expect_eq(world_get(w, 0, "/a", "x-api-key: one")->status, 429);
    cr_expect_eq(world_get(w, 0, "/a", "x-api-key: two")->status, 200);
    cr_expect_eq(world_get(w, 0, "/a", NULL)->status, 200, "without the field the address counts");
    cr_expect_eq(world_get(w, 0, "/a", NULL)->status, 429);
    world_free(w);
}

Test(sim_access, signatures)
{
    char path[] = "/tmp/brink-sim-secret-XXXXXX", yaml[200], target[400];
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, SECRET "\n", sizeof SECRET) == sizeof SECRET);
    fchmod(fd, 0600);
    close(fd);
    snprintf(yaml, sizeof yaml, "    access: { secret_file: %s }\n    rules: [{ path: '/v/**', signed: true }]", path);
    world_t *w = world_with(yaml);
    long long soon = w->now.wall / 1000 + 60;

    cr_expect_eq(world_get(w, 0, "/v/a?x=1", NULL)->status, 403);
    cr_expect_eq(w->calls, 0);
    snprintf(target, sizeof target, "/v/a?x=1&%s", sign(false, "/v/a?x=1", soon));
    world_client_t *c = world_get(w, 0, target, NULL);
    cr_assert_eq(w->calls, 1);
    cr_expect(strcmp(w->call[0]->target, "/v/a?x=1") == 0, "the origin doesn't see the signature: %s",
              w->call[0]->target);
    world_answer(w, w->call[0], 200, "cache-control: max-age=600", "secret");
    cr_expect_eq(c->status, 200);
    snprintf(target, sizeof target, "/v/a?x=1&%s", sign(false, "/v/a?x=1", soon + 1));
    cr_expect(world_says(world_get(w, 1, target, NULL), "cache-status", "hit"), "another signature, one copy");
    cr_expect(world_says(world_get(w, 1, "/v/a?x=1", sign(true, "/v/", soon)), "cache-status", "hit"));
    cr_expect_eq(world_get(w, 1, "/v/a?x=1", NULL)->status, 403, "stored is not open");
    cr_expect_eq(world_get(w, 1, "/v/%61?x=1", NULL)->status, 403, "nor by another spelling");
    cr_expect_eq(world_get(w, 1, "/w/../v/a?x=1", NULL)->status, 403);
    world_pass(w, 120 * 1000);
    c = world_get(w, 1, target, NULL);
    cr_expect_eq(c->status, 403);
    cr_expect(world_says(c, "cache-status", "detail=expired"));
    world_get(w, 0, "/open?brink-signature=1", NULL);
    cr_expect(strcmp(world_last_call(w)->target, "/open") == 0);
    world_free(w);
    unlink(path);
}

/* Over the ceiling what is stored is still answered, and what isn't costs nothing. */
Test(sim_access, over_the_ceiling_of_requests_only_hits_are_answered)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_answer(w, w->call[0], 200, "cache-control: max-age=60", "a");
    world_get(w, 0, "/old", NULL);
    world_answer(w, w->call[1], 200, "cache-control: max-age=1, stale-if-error=600", "old");
    world_pass(w, 2000);
    w->env[0].most_in_flight = 1;
    world_client_t *slow = world_get(w, 0, "/slow", NULL), *c = world_get(w, 0, "/more", NULL);
    cr_expect_eq(w->calls, 3);
    cr_expect_eq(c->status, 503);
    cr_expect(span_eq(world_field(c, "retry-after"), SPAN("1")));
    cr_expect(world_says(c, "cache-status", "detail=overload"));
    cr_expect(world_says(world_get(w, 0, "/a", NULL), "cache-status", "hit"));
    cr_expect(world_says(world_get(w, 0, "/old", NULL), "cache-status", "stale-if-error"));
    world_client_t *along = world_get(w, 0, "/slow", NULL);
    world_answer(w, w->call[2], 200, "cache-control: max-age=60", "slow");
    cr_expect_eq(slow->status, 200);
    cr_expect_eq(along->status, 200, "who joins a running fetch asks nothing of the origin");
    cr_expect_eq(world_get(w, 0, "/more", NULL)->head, false, "there is room again");
    cr_expect_eq(w->calls, 4);
    world_free(w);
}
