/* Methods that change something: what they make doubtful, and what their own answers are good for. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "world.h"

#define FRESH "cache-control: max-age=60\netag: \"v1\""
#define REPRESENTS "cache-control: max-age=60\ncontent-location: http://site.example/form"

static world_client_t *post(world_t *w, const char *target, const char *answer, const char *body)
{
    world_client_t *c = world_request(w, 0, "POST", target, NULL, "q=1");
    world_answer(w, world_last_call(w), 200, answer, body);
    cr_assert(c->done && c->status == 200 && c->n == strlen(body));
    return c;
}

/* RFC 9110 9.3.3 */
Test(sim_unsafe, the_answer_to_a_post_that_is_the_targets_own_is_good_for_get)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *first = post(w, "/form", REPRESENTS, "made");
    cr_expect(world_says(first, "cache-status", "fwd=method; fwd-status=200; stored"));
    world_client_t *c = world_get(w, 1, "/form", NULL);
    cr_expect_eq(w->calls, 1);
    cr_assert(c->done && c->n == 4 && memcmp(c->body, "made", 4) == 0);
    cr_expect(world_says(c, "x-cache", "HIT"));
    world_client_t *head = world_request(w, 1, "HEAD", "/form", NULL, NULL);
    cr_expect(head->done && head->status == 200 && head->content_length == 4);
    post(w, "/form", REPRESENTS, "again");
    cr_expect_eq(w->calls, 2, "a POST is never answered from the cache");
    c = world_get(w, 0, "/form", NULL);
    cr_expect_eq(w->calls, 2);
    cr_expect(c->n == 5, "the newer one replaced it");
    world_free(w);
}

/* RFC 9111 3.1, 5.2.2.4, 5.2.2.7 */
Test(sim_unsafe, what_such_an_answer_says_for_one_user_alone_is_not_kept)
{
    world_t *w = world_new(NULL, NULL);
    static const char *const qualified[] = {"no-cache=\"set-cookie\"", "private=\"set-cookie\""};
    for (size_t i = 0; i < sizeof qualified / sizeof *qualified; i++) {
        char answer[256];
        snprintf(answer, sizeof answer, REPRESENTS "\ncache-control: %s\nset-cookie: id=1\netag: \"v1\"", qualified[i]);
        world_client_t *first = post(w, "/form", answer, "made");
        cr_expect(world_says(first, "set-cookie", "id=1"), "who posted gets all of it: %s", qualified[i]);
        size_t before = w->calls;
        world_client_t *c = world_get(w, 1, "/form", NULL);
        cr_expect_eq(w->calls, before, "%s", qualified[i]);
        cr_assert(c->done && c->n == 4);
        cr_expect(world_says(c, "x-cache", "HIT"));
        cr_expect_not(world_says(c, "set-cookie", "id=1"), "%s", qualified[i]);
    }
    world_free(w);
}

Test(sim_unsafe, other_answers_to_a_post_are_not)
{
    static const char *const answers[] = {
        "cache-control: max-age=60",
        "content-location: http://site.example/form\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT",
        "cache-control: max-age=60\ncontent-location: /other",
        "cache-control: max-age=60\ncontent-location: http://else.example/form",
        "cache-control: max-age=60\ncontent-location: /form\ncontent-location: /other",
        "cache-control: max-age=60, private\ncontent-location: /form",
    };
    world_t *w = world_new(NULL, NULL);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        post(w, "/form", answers[i], "made");
        size_t before = w->calls;
        world_get(w, 0, "/form", NULL);
        cr_expect_eq(w->calls, before + 1, "%s", answers[i]);
        world_answer(w, world_last_call(w), 200, "cache-control: no-store", "");
    }
    world_client_t *c = world_request(w, 0, "PUT", "/form", NULL, "x");
    world_answer(w, world_last_call(w), 200, REPRESENTS, "made");
    cr_expect(c->done);
    size_t before = w->calls;
    world_get(w, 0, "/form", NULL);
    cr_expect_eq(w->calls, before + 1, "PUT is not POST");
    world_free(w);
}

/* The response stands for what is there after the POST, but a purge that came while it was under way counts. */
Test(sim_unsafe, a_purge_during_a_post_is_not_undone_by_its_answer)
{
    world_t *w = world_new(NULL, NULL);
    world_request(w, 0, "POST", "/form", NULL, "q");
    world_purge(w, LEDGER_TAG, "t", MARK_HARD);
    world_answer(w, world_last_call(w), 200, REPRESENTS "\nsurrogate-key: t", "made");
    world_get(w, 0, "/form", NULL);
    cr_expect_eq(w->calls, 2);
    world_answer(w, world_last_call(w), 200, "cache-control: no-store", "");
    world_request(w, 0, "POST", "/form2", NULL, "q");
    world_purge(w, LEDGER_TAG, "another", MARK_HARD);
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=60\ncontent-location: /form2\nsurrogate-key: t",
                 "made");
    world_get(w, 0, "/form2", NULL);
    cr_expect_eq(w->calls, 3, "what it doesn't carry is no matter");
    world_free(w);
}

Test(sim_unsafe, the_answer_to_a_post_that_nobody_waits_for_is_given_up)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *c = world_request(w, 0, "POST", "/form", NULL, "q");
    world_head(w, world_last_call(w), 200, REPRESENTS, 8);
    world_body(w, world_last_call(w), "half");
    world_run(w);
    world_leave(w, c);
    cr_expect(world_last_call(w)->cancelled);
    world_get(w, 0, "/form", NULL);
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

/* RFC 9875 3: within the origin, and only by unsafe methods. */
Test(sim_unsafe, groups_are_invalidated_within_their_origin)
{
    static const char *const paths[] = {"/a", "/b", "/other"};
    world_t *w = world_new(NULL, NULL);
    for (int i = 0; i < 3; i++) {
        world_get(w, 0, paths[i], NULL);
        world_answer(w, world_last_call(w), 200, i < 2 ? FRESH "\ncache-groups: \"list\"" : FRESH, "x");
    }
    world_get(w, 0, "/safe", NULL);
    world_answer(w, world_last_call(w), 200, FRESH "\ncache-group-invalidation: \"list\"", "x");
    cr_assert_eq(w->calls, 4);
    cr_expect(world_get(w, 0, "/a", NULL)->done, "a GET invalidates nothing");

    world_client_t *c = world_request(w, 0, "DELETE", "/a/1", NULL, NULL);
    world_answer(w, world_last_call(w), 403, "cache-group-invalidation: \"list\"", "");
    cr_expect(world_get(w, 0, "/a", NULL)->done, "it failed");
    c = world_request(w, 0, "DELETE", "/a/1", NULL, NULL);
    world_answer(w, world_last_call(w), 204, "cache-group-invalidation: \"list\", \"more\"", "");
    cr_expect(world_says(c, "cache-group-invalidation", "list"), "others downstream want to know");
    size_t before = w->calls;
    cr_assert_eq(before, 6);
    for (int i = 0; i < 2; i++) {
        c = world_get(w, 1, paths[i], NULL);
        cr_assert_eq(w->calls, before + 1 + (size_t)i, "%s", paths[i]);
        cr_expect(fields_has(&world_last_call(w)->fields, SPAN("if-none-match")));
        world_answer(w, world_last_call(w), 304, "", "");
        cr_expect(c->done && c->status == 200 && world_says(c, "cache-groups", "list"));
    }
    world_get(w, 0, "/other", NULL);
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, before + 2, "what was asked about is good again; the rest was never in doubt");
    world_free(w);
}

/* A fetch that was on its way when its group was invalidated is older than the change. */
Test(sim_unsafe, a_group_is_invalidated_while_its_member_arrives)
{
    world_t *w = world_new(NULL, NULL);
    world_get(w, 0, "/a", NULL);
    world_call_t *slow = world_last_call(w);
    world_head(w, slow, 200, FRESH "\ncache-groups: \"list\"", 1);
    world_request(w, 0, "DELETE", "/x", NULL, NULL);
    world_answer(w, world_last_call(w), 204, "cache-group-invalidation: \"list\"", "");
    world_body(w, slow, "x");
    world_end(w, slow, UPSTREAM_OK);
    world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 3);
    world_free(w);
}

/* RFC 9111 5.2.2.4, 5.2.2.7: listed fields are for the one who asked the origin. */
Test(sim_unsafe, listed_fields_are_given_to_one)
{
    world_t *w = world_new(NULL, NULL);
    world_client_t *a = world_get(w, 0, "/a", NULL), *b = world_get(w, 1, "/a", NULL);
    world_answer(w, world_last_call(w), 200,
                 "cache-control: max-age=60, private=\"x-user\", no-cache=\"set-cookie, x-once\"\nx-user: ann\nx-once: "
                 "1\nset-cookie: s=1\nx-all: yes\netag: \"v1\"",
                 "hello");
    world_client_t *c = world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 1);
    cr_expect(world_says(a, "x-user", "ann") && world_says(a, "x-once", "1") && world_says(a, "set-cookie", "s=1"));
    world_client_t *others[] = {b, c};
    for (int i = 0; i < 2; i++) {
        cr_assert(others[i]->done && others[i]->n == 5);
        cr_expect(world_says(others[i], "x-all", "yes"));
        cr_expect(world_field(others[i], "x-user").p == NULL && world_field(others[i], "x-once").p == NULL &&
                      world_field(others[i], "set-cookie").p == NULL,
                  "%d", i);
    }
    world_pass(w, 70000); /* a 304 may carry them again */
    a = world_get(w, 0, "/a", NULL);
    world_answer(w, world_last_call(w), 304, "cache-control: max-age=60, private=\"x-user\"\nx-user: bob\nx-all: still",
                 "");
    c = world_get(w, 0, "/a", NULL);
    cr_expect_eq(w->calls, 2);
    cr_expect(world_says(a, "x-user", "bob") && world_says(a, "x-all", "still"));
    cr_expect(world_field(c, "x-user").p == NULL && world_says(c, "x-all", "still"));
    world_free(w);
}
