/* Slices: what is fetched of a large response where pieces of it are missing, and for ranges of what isn't stored.
 * Bytes of two versions never meet. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/tbl/metrics.h"
#include "large.h"

Test(sim_slices, a_missing_piece_is_fetched_with_its_slice_once_for_all)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    large_drop(w, 2);
    world_client_t *c[4];
    for (unsigned i = 0; i < 4; i++)
        c[i] = world_get(w, i % 2, "/a", i < 2 ? NULL : "range: bytes=600000-600009");
    world_disk(w);
    cr_assert_eq(w->calls, 2, "one for all: %zu", w->calls);
    large_asked(w, "bytes=0-1048575", "\"v1\"");
    large_brings(w, 0, SLICE, 'a', FRESH);
    for (int i = 0; i < 20; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    for (unsigned i = 0; i < 2; i++)
        large_is(c[i], 200, 0, LENGTH, 'a');
    for (unsigned i = 2; i < 4; i++)
        large_is(c[i], 206, 600000, 600010, 'a');
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    large_drop(w, 5);
    c[0] = world_get(w, 0, "/a", "range: bytes=-1");
    world_disk(w);
    large_asked(w, "bytes=1048576-1323064", "\"v1\"");
    large_brings(w, SLICE, LENGTH, 'a', FRESH);
    large_is(c[0], 206, LENGTH - 1, LENGTH, 'a');
    world_free(w);
}

Test(sim_slices, no_body_is_mixed_from_two_versions)
{
    static const struct {
        const char *fields, *range;
        int status;
    } others[] = {
        {"cache-control: max-age=3600\netag: \"v2\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600\netag: W/\"v1\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600", "bytes 0-1048575/1323065", 206},
        {FRESH, "bytes 0-1048575/1323066", 206},
        {FRESH, "bytes 1-1048576/1323065", 206},
        {FRESH, "bytes 0-1048574/1323065", 206},
        {FRESH, "bytes 0-1048575/*", 206},
        {"cache-control: max-age=3600\netag: \"v2\"", NULL, 200},
        {"", NULL, 404},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        world_t *w = large_world();
        large_stored(w, FRESH);
        large_drop(w, 1);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert_eq(w->calls, 2);
        char lines[256];
        snprintf(lines, sizeof lines, "%s%s%s", others[i].fields, others[i].range != NULL ? "\ncontent-range: " : "",
                 others[i].range != NULL ? others[i].range : "");
        world_head(w, world_last_call(w), others[i].status, lines, others[i].range != NULL ? SLICE : LENGTH);
        world_run(w);
        cr_expect(c->aborted && c->n == PIECE_BYTES, "case %zu: visibly cut", i);
        cr_expect_eq(w->calls, 2, "case %zu: asked again", i);
        world_disk(w);
        c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 3 && !c->head, "case %zu: what is stored is dropped", i);
        cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("range")));
        large_answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
        large_is(c, 200, 0, LENGTH, 'A');
        large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

/* Where the first piece is missing, the head waits for it. */
Test(sim_slices, a_version_that_is_no_more_is_not_begun)
{
    static const struct {
        const char *fields, *range;
        int status;
    } others[] = {
        {"cache-control: max-age=3600\netag: \"v2\"", "bytes 0-1048575/1323065", 206},
        {"cache-control: max-age=3600\netag: \"v2\"", NULL, 200},
        {"", NULL, 404},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        world_t *w = large_world();
        large_stored(w, FRESH);
        large_drop(w, 0);
        world_client_t *c = world_get(w, 0, "/a", NULL);
        world_disk(w);
        cr_assert(w->calls == 2 && !c->head);
        char lines[256];
        snprintf(lines, sizeof lines, "%s%s%s", others[i].fields, others[i].range != NULL ? "\ncontent-range: " : "",
                 others[i].range != NULL ? others[i].range : "");
        world_head(w, world_last_call(w), others[i].status, lines, others[i].range != NULL ? SLICE : LENGTH);
        world_run(w);
        world_disk(w);
        cr_assert(w->calls == 3 && !c->head, "case %zu: what is stored is dropped", i);
        cr_expect(!fields_has(&world_last_call(w)->fields, SPAN("range")));
        large_answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
        large_is(c, 200, 0, LENGTH, 'A');
        cr_expect(world_says(c, "cache-status", "sim-1; fwd=uri-miss; fwd-status=200; stored"), "%.*s",
                  SPAN_ARG(world_field(c, "cache-status")));
        large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'A');
        world_free(w);
    }
}

/* A range whose first piece is there, and a later one was never fetched: what the client gets is of one version, and
 * whole. */
Test(sim_slices, a_range_of_another_version_is_answered_from_that)
{
    world_t *w = world_open(&(world_options_t){
        .disk = true,
        .more =
            "memory: {size: 8MiB, max_object: 256KiB}\ndisk: {path: unused, size: 64MiB, wait: 10s, slice: 256KiB}"});
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1310720-");
    world_disk(w);
    large_brings(w, 5 * PIECE_BYTES, LENGTH, 'a', FRESH);
    large_is(c, 206, 5 * PIECE_BYTES, LENGTH, 'a');
    c = world_get(w, 0, "/a", "range: bytes=0-9");
    world_disk(w);
    large_asked(w, "bytes=0-262143", "\"v1\"");
    large_brings(w, 0, PIECE_BYTES, 'a', FRESH);
    large_is(c, 206, 0, 10, 'a');
    large_is(large_get(w, 1, "range: bytes=100-200000"), 206, 100, 200001, 'a');
    cr_expect_eq(large_get(w, 1, "if-none-match: \"v1\"")->status, 304);
    cr_assert_eq(w->calls, 2, "nothing is missing for those");
    c = world_get(w, 0, "/a", "range: bytes=200000-700000");
    world_disk(w);
    cr_assert(w->calls == 3 && !c->head);
    large_asked(w, "bytes=262144-524287", "\"v1\"");
    world_leave(w, world_get(w, 1, "/a", "range: bytes=200000-700000"));
    world_head(w, world_last_call(w), 200, "cache-control: max-age=3600\netag: \"v2\"", LENGTH);
    world_run(w);
    world_disk(w);
    cr_assert(w->calls == 4 && !c->head);
    large_answers(w, "cache-control: max-age=3600\netag: \"v2\"", 'A');
    large_is(c, 206, 200000, 700001, 'A');
    large_is(large_get(w, 0, NULL), 200, 0, LENGTH, 'A');
    world_free(w);
}

Test(sim_slices, what_can_not_be_had_at_all_is_an_error_and_not_a_cut)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    large_drop(w, 4);
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
    world_disk(w);
    while (!c->done && world_last_call(w)->open)
        world_end(w, world_last_call(w), UPSTREAM_FIRST_BYTE_TIMEOUT);
    cr_expect(c->done && !c->aborted && c->status == 504, "%d", c->status);
    cr_expect(world_says(c, "cache-status", "fwd=partial; detail=http_response_timeout"), "%.*s",
              SPAN_ARG(world_field(c, "cache-status")));
    large_is(large_get(w, 0, "range: bytes=0-9"), 206, 0, 10, 'a');
    world_free(w);
}

Test(sim_slices, a_server_that_ignores_range_sends_all_of_it)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    large_drop(w, 1);
    large_drop(w, 3);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    large_answers(w, FRESH, 'a');
    for (int i = 0; i < 20; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    large_is(c, 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_slices, without_a_strong_validator_nothing_is_fetched_to_it)
{
    world_t *w = large_world();
    large_stored(w, WEAK);
    large_drop(w, 3);
    world_client_t *c = large_get(w, 0, NULL);
    cr_expect(c->aborted && c->n == 3 * PIECE_BYTES);
    cr_expect_eq(w->calls, 1);
    world_disk(w);
    world_get(w, 0, "/a", NULL);
    world_disk(w);
    cr_expect_eq(w->calls, 2, "the next one gets it anew");
    world_free(w);
}

Test(sim_slices, a_slice_that_was_cut_is_asked_for_again)
{
    world_t *w = large_world();
    large_stored(w, FRESH);
    large_drop(w, 1);
    world_client_t *c = world_get(w, 0, "/a", NULL);
    world_disk(w);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(w->calls, 2 + i);
        world_call_t *call = world_last_call(w);
        world_head(w, call, 206, FRESH "\ncontent-range: bytes 0-1048575/1323065", SLICE);
        large_sends(w, call, 0, i == 0 ? 300000 : SLICE, 'a');
        world_end(w, call, i == 0 ? UPSTREAM_CUT : UPSTREAM_OK);
        for (int k = 0; k < 20; k++) {
            world_disk(w);
            world_pass(w, 5);
        }
    }
    large_is(c, 200, 0, LENGTH, 'a');
    world_free(w);
}

/* ---- ranges of what isn't stored ---- */

Test(sim_slices, ranges_of_one_cold_slice_are_one_request)
{
    world_t *w = large_world();
    static const char *const ranges[] = {"range: bytes=1100000-1100009", "range: bytes=1048576-1048577",
                                         "range: bytes=1300000-1300003", "range: bytes=1323000-"};
    static const uint64_t from[] = {1100000, 1048576, 1300000, 1323000}, to[] = {1100010, 1048578, 1300004, LENGTH};
    world_client_t *c[8];
    for (unsigned i = 0; i < 8; i++)
        c[i] = world_get(w, i / 4, "/a", ranges[i % 4]);
    world_disk(w);
    cr_assert_eq(w->calls, 1, "%zu", w->calls);
    cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("range")), SPAN("bytes=1048576-2097151")));
    large_brings(w, SLICE, LENGTH, 'a', FRESH);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    for (unsigned i = 0; i < 8; i++)
        large_is(c[i], 206, from[i % 4], to[i % 4], 'a');
    cr_expect(world_says(c[0], "cache-status", "fwd=uri-miss; fwd-status=206"), "%.*s",
              SPAN_ARG(world_field(c[0], "cache-status")));
    c[0] = large_get(w, 0, "range: bytes=1048576-1323064");
    large_is(c[0], 206, SLICE, LENGTH, 'a');
    cr_expect(world_says(c[0], "cache-status", "; hit") &&
              world_says(c[0], "content-range", "1048576-1323064/1323065"));
    cr_expect_eq(w->calls, 1);
    c[0] = world_get(w, 0, "/a", NULL); /* what is missing for the whole is the other slice */
    world_disk(w);
    cr_assert_eq(w->calls, 2);
    large_asked(w, "bytes=0-1048575", "\"v1\"");
    large_brings(w, 0, SLICE, 'a', FRESH);
    for (int i = 0; i < 10; i++) {
        world_disk(w);
        world_pass(w, 5);
    }
    large_is(c[0], 200, 0, LENGTH, 'a');
    large_forget(w);
    large_is(large_get(w, 1, NULL), 200, 0, LENGTH, 'a');
    cr_expect_eq(w->calls, 2);
    world_free(w);
}

Test(sim_slices, a_slice_of_something_small_is_a_part)
{
    world_t *w = world_open(&(world_options_t){
        .disk = true,
        .more = "memory: {size: 8MiB, max_object: 2MiB}\ndisk: {path: unused, size: 64MiB, slice: 1MiB}"});
    world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
    world_disk(w);
    large_brings(w, SLICE, LENGTH, 'a', FRESH);
    large_is(c, 206, 1100000, 1100010, 'a');
    cr_expect(world_says(c, "content-range", "bytes 1100000-1100009/1323065"));
    large_is(large_get(w, 0, "range: bytes=-1"), 206, LENGTH - 1, LENGTH, 'a');
    cr_expect_eq(w->calls, 1);
    world_free(w);
}

Test(sim_slices, a_slice_that_is_not_it_is_asked_for_as_it_was)
{
    static const struct {
        const char *fields, *range;
        int status;
        int64_t length;
        bool again;
    } answers_[] = {
        {"cache-control: no-store\netag: \"v1\"", "bytes 1048576-2097151/9000000", 206, SLICE, true},
        {FRESH, "bytes 1048576-1099999/1100000", 206, 51424, false}, /* what the client wants isn't there */
        {FRESH, "bytes 1048577-2097151/9000000", 206, SLICE - 1, true},
        {FRESH, "bytes */5", 416, 0, false},
    };
    for (size_t i = 0; i < sizeof answers_ / sizeof *answers_; i++) {
        world_t *w = large_world();
        world_client_t *c = world_get(w, 0, "/a", "range: bytes=1100000-1100009");
        world_disk(w);
        char lines[256];
        snprintf(lines, sizeof lines, "%s\ncontent-range: %s", answers_[i].fields, answers_[i].range);
        world_head(w, world_last_call(w), answers_[i].status, lines, answers_[i].length);
        world_run(w);
        world_disk(w);
        cr_expect_eq(w->calls, answers_[i].again ? 2 : 1, "case %zu", i);
        if (answers_[i].again) {
            cr_expect(span_eq(fields_get(&world_last_call(w)->fields, SPAN("range")), SPAN("bytes=1100000-1100009")),
                      "case %zu", i);
            world_head(w, world_last_call(w), 206, FRESH "\ncontent-range: bytes 1100000-1100009/1323065", 10);
            char *all = large_bytes('a');
            world_bytes(w, world_last_call(w), all + 1100000, 10);
            free(all);
            world_end(w, world_last_call(w), UPSTREAM_OK);
            large_is(c, 206, 1100000, 1100010, 'a');
        } else {
            if (answers_[i].length == 0)
                world_end(w, world_last_call(w), UPSTREAM_OK);
            cr_expect(c->done && c->status == 416, "case %zu", i);
        }
        world_free(w);
    }
}
