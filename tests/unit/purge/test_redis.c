/* Nodes with a real Redis that is well: the stream, the channel, receipts, names. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "pair.h"

TestSuite(redis, .init = pair_setup, .fini = pair_teardown, .timeout = 120);

Test(redis, an_entry_by_anyone_is_applied)
{
    test_node_start(&a, false);
    cr_assert(purge_in_doubt(a.p) || purge_ready(a.p));
    ready(&a);
    cr_assert_not(purge_in_doubt(a.p));
    uint64_t began = head(&a);
    test_redis(&redis,
               "XADD brink:purge * purge '{\"tags\":[\"product:123\"],\"urls\":[\"https://h/x?y\"]}' note whatever");
    TEST_WAIT(purged(&a, "product:123", began));
    cr_assert_eq(test_node_check(&a, "h/x?y", NULL, began), MARK_HARD);
    cr_assert_eq(test_node_check(&a, "h/x?z", NULL, began), MARK_NONE);
    began = head(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"soft\"],\"soft\":true}'");
    TEST_WAIT(test_node_check(&a, "h/a", "soft", began) == MARK_SOFT);
    test_redis(&redis, "XADD brink:purge * purge '{\"tag\":[\"x\"]}'");
    test_redis(&redis, "XADD brink:purge * other field");
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"end\"]}'");
    TEST_WAIT(purged(&a, "end", began));
    purge_status_t st = test_node_status(&a);
    cr_assert_eq(st.malformed, 2);
    cr_assert_eq(st.gaps, 0);
    cr_assert_eq(st.redis, PURGE_REDIS_CONNECTED);
    cr_assert_eq(st.count[MESSAGE_TAG][PURGE_FROM_STREAM], 3);
    cr_assert(strstr(test_redis(&redis, "XREVRANGE brink:purge + - COUNT 1"), st.cursor) != NULL);
}

Test(redis, the_first_start_ignores_what_was_before)
{
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"old\"]}'");
    test_node_start(&a, false);
    ready(&a);
    cr_assert_eq(test_node_status(&a).gaps, 0);
    /* whatever was fetched before the cursor was known is not trusted */
    cr_assert_eq(test_node_check(&a, "h/a", NULL, 0), MARK_STRICT);
    cr_assert_eq(test_node_check(&a, "h/a", "old", head(&a)), MARK_NONE);
    /* stored objects, but no cursor: a gap */
    test_node_start(&b, true);
    ready(&b);
    cr_assert_eq(test_node_status(&b).gaps, 1);
}

Test(redis, an_own_purge_is_in_force_then_durable_then_everywhere)
{
    both_ready();
    TEST_WAIT(strstr(test_redis(&redis, "EXISTS brink:purge:node:edge-1 brink:purge:node:edge-2"), "2") != NULL);
    uint64_t began_a = head(&a), began_b = head(&b);
    test_answer_t *x = test_node_everywhere(&a, "{\"tags\":[\"t\"]}");
    cr_assert_eq(x->o.err, ERR_OK);
    cr_assert(x->o.in_redis);
    cr_assert_eq(x->o.nodes_n, 2);
    cr_assert(purged(&a, "t", began_a) && purged(&b, "t", began_b), "the fleet has it when the answer comes");
    for (size_t i = 0; i < 2; i++)
        cr_assert_geq(x->o.nodes[i].applied_ms, 0);
    cr_assert(strstr(test_redis(&redis, "XRANGE brink:purge - +"), x->o.id) != NULL);
    cr_assert(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "edge-1/") != NULL);
    /* it came back through the stream and moved the cursor only */
    TEST_WAIT(strcmp(test_node_status(&a).cursor, x->o.id) == 0 && test_node_status(&a).undelivered == 0);
    cr_assert_eq(head(&a), began_a + 1);
    cr_assert_eq(entries(), 1);
    test_answer_t *r = test_node_receipt(&a, x->o.id);
    cr_assert_eq(r->o.err, ERR_OK);
    cr_assert_eq(r->o.nodes_n, 2);
    free(r);
    r = test_node_receipt(&b, x->o.id); /* b applied it, so b knows it */
    cr_assert_eq(r->o.err, ERR_OK);
    free(r);
    r = test_node_receipt(&a, "1-1");
    cr_assert_eq(r->o.err, ERR_NOT_FOUND);
    free(r);
    free(x);
}

Test(redis, a_silent_node_is_missing_and_a_gone_one_absent)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis(&redis, "SADD brink:purge:nodes silent gone");
    test_redis(&redis, "HSET brink:purge:node:silent applied 1-1");
    test_answer_t *x = NULL;
    do { /* again, where Redis took too long to enter it */
        free(x);
        x = test_node_purge(&a, "{\"tags\":[\"t\"],\"wait\":\"fleet\",\"timeout\":\"300ms\"}");
        cr_assert_eq(x->o.err, ERR_TIMEOUT);
    } while (!x->o.in_redis);
    int missing = 0, absent = 0;
    for (size_t i = 0; i < x->o.nodes_n; i++) {
        missing += x->o.nodes[i].applied_ms < 0 && x->o.nodes[i].live && strcmp(x->o.nodes[i].name, "silent") == 0;
        absent += x->o.nodes[i].applied_ms < 0 && !x->o.nodes[i].live && strcmp(x->o.nodes[i].name, "gone") == 0;
    }
    cr_assert(missing == 1 && absent == 1);
    free(x);
    x = test_node_purge(&a, "{\"tags\":[\"t\"],\"wait\":\"local\"}");
    cr_assert(x->o.err == ERR_OK && x->o.nodes_n == 1);
    free(x);
}

Test(redis, a_published_message_purges_everywhere_and_is_recorded_once)
{
    a.o.channel = b.o.channel = "cache:invalidate";
    test_node_start(&a, false);
    ready(&a);
    TEST_WAIT(test_node_status(&a).recorder);
    test_node_start(&b, false);
    ready(&b);
    TEST_WAIT(entries() == 1); /* the first recorder enters a gap */
    TEST_WAIT(strstr(test_redis(&redis, "PUBSUB NUMSUB cache:invalidate"), "2") != NULL);
    TEST_WAIT(test_node_status(&b).undelivered == 0 && test_node_status(&a).undelivered == 0);
    uint64_t began_a = head(&a), began_b = head(&b);
    int64_t since = clock_nanos();
    test_redis(&redis, "PUBLISH cache:invalidate product:123");
    TEST_WAIT(purged(&a, "product:123", began_a) && purged(&b, "product:123", began_b));
    test_redis(&redis, "PUBLISH cache:invalidate product:123");
    test_redis(&redis, "PUBLISH cache:invalidate https://h/u");
    test_redis(&redis, "PUBLISH cache:invalidate '{\"hosts\":[\"g\"],\"soft\":true}'");
    TEST_WAIT(test_node_check(&b, "g/x", NULL, began_b) == MARK_SOFT);
    cr_assert_eq(test_node_check(&b, "h/u", NULL, began_b), MARK_HARD);
    TEST_WAIT(entries() >= 5);
    bool late = clock_nanos() - since > 800 * 1000 * 1000; /* then others may think that the recorder is gone */
    TEST_WAIT(test_node_status(&b).undelivered == 0 && test_node_status(&a).undelivered == 0);
    usleep(1500 * 1000); /* nobody enters anything a second time */
    cr_assert(late ? entries() >= 5 : entries() == 5, "%d entries", entries());
    cr_assert_eq(head(&b), began_b + 4, "an entry that was heard moves only the cursor");
    cr_assert_not(test_node_status(&b).recorder);
    cr_assert_eq(test_node_status(&b).count[MESSAGE_TAG][PURGE_FROM_CHANNEL], 2);
}

Test(redis, an_equal_purge_by_others_is_not_the_message_that_was_heard)
{
    a.o.channel = "cache:invalidate";
    test_redis(&redis, "SET brink:purge:recorder somebody PX 100000"); /* who records nothing */
    test_node_start(&a, false);
    TEST_WAIT(strstr(test_redis(&redis, "PUBSUB NUMSUB cache:invalidate"), "1") != NULL);
    TEST_WAIT(test_node_status(&a).cursor[0] != '\0');
    uint64_t began = head(&a);
    test_redis(&redis, "PUBLISH cache:invalidate t");
    TEST_WAIT(purged(&a, "t", began));
    began = head(&a); /* a page that was fetched after the message, and is purged again */
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t\"]}'");
    TEST_WAIT(purged(&a, "t", began));
    TEST_WAIT(entries() == 2 && test_node_status(&a).undelivered == 0); /* the message is entered nevertheless */
}

Test(redis, another_listener_takes_over_without_a_gap)
{
    a.o.channel = b.o.channel = "cache:invalidate";
    test_node_start(&a, false);
    ready(&a);
    TEST_WAIT(test_node_status(&a).recorder);
    test_node_start(&b, false);
    ready(&b);
    sleep(3); /* b sees a renewal that is younger than its subscription */
    uint64_t gaps = test_node_status(&b).gaps;
    uint64_t began = head(&b);
    /* the recorder is gone without a word: its lease is held by nobody that writes */
    test_redis(&redis, "SET brink:purge:recorder dead PX 60000");
    test_node_stop(&a);
    int before = entries();
    test_redis(&redis, "PUBLISH cache:invalidate orphan");
    TEST_WAIT(purged(&b, "orphan", began));
    TEST_WAIT(entries() > before);
    cr_assert(strstr(test_redis(&redis, "XREVRANGE brink:purge + - COUNT 1"), "orphan") != NULL);
    cr_assert_not(test_node_status(&b).recorder, "whoever heard it enters it");
    test_redis(&redis, "DEL brink:purge:recorder");
    TEST_WAIT(test_node_status(&b).recorder);
    cr_assert_eq(test_node_status(&b).gaps, gaps);
    /* the old recorder reads, after its restart, what was said meanwhile */
    test_node_start(&a, true);
    ready(&a);
    cr_assert_eq(test_node_check(&a, "h/a", "orphan", 0), MARK_HARD);
}

Test(redis, what_was_purged_during_an_outage_of_the_node)
{
    test_node_start(&a, false);
    ready(&a);
    uint64_t began = head(&a);
    test_node_stop(&a);
    for (int i = 0; i < 1000; i++) /* several replies long */
        test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t%d\"]}'", i);
    test_node_start(&a, true);
    ready(&a);
    for (int i = 0; i < 1000; i++) {
        char tag[16];
        snprintf(tag, sizeof tag, "t%d", i);
        cr_assert(purged(&a, tag, began), "%s", tag);
    }
    cr_assert_eq(test_node_status(&a).gaps, 0);
    cr_assert_eq(test_node_status(&a).count[MESSAGE_TAG][PURGE_FROM_STREAM], 1000,
                 "exactly the entries after the cursor");
    test_node_stop(&a);
    test_node_start(&a, true);
    ready(&a);
    cr_assert_eq(test_node_status(&a).count[MESSAGE_TAG][PURGE_FROM_STREAM], 0, "and none of them twice");
    cr_assert(purged(&a, "t0", began) && purged(&a, "t999", began), "what the cursor has passed is not forgotten");
}

Test(redis, old_entries_are_trimmed)
{
    a.o.keep = 60 * 1000;
    for (int i = 1; i <= 250; i++)
        test_redis(&redis, "XADD brink:purge 1-%d purge '{\"tags\":[\"old\"]}'", i);
    test_node_start(&a, false);
    ready(&a);
    free(test_node_everywhere(&a, "{\"tags\":[\"new\"]}"));
    TEST_WAIT(entries() <= 100); /* whole nodes of the stream, of 100 entries */
    free(test_node_everywhere(&a, "{\"tags\":[\"newer\"]}"));
    cr_assert_eq(test_node_status(&a).gaps, 0, "they had been read");
}

Test(redis, an_entry_that_comes_twice_moves_the_cursor_once_more)
{
    test_node_start(&a, false);
    ready(&a);
    uint64_t began = head(&a);
    static const char *const once[] = {"by edge-9/7 life 00000000000000aa",
                                       "by edge-9/7 life 00000000000000bb",
                                       "by edge-9/8 life 00000000000000aa",
                                       "by edge-9/7",
                                       "by edge-9/7",
                                       ""};
    for (size_t i = 0; i < 6; i++) { /* other lives, other numbers, and whoever doesn't say: each is a purge */
        test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t\"]}' %s", once[i]);
        TEST_WAIT(head(&a) == began + i + 1);
    }
    char first[48];
    snprintf(first, sizeof first, "%s", test_node_status(&a).cursor);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t\"]}' by edge-9/7 life 00000000000000aa");
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t\"]}' by edge-9/99 again %s", first);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"other\"]}' by edge-9/99 again %s", first);
    TEST_WAIT(purged(&a, "other", began));
    cr_assert_eq(head(&a), began + 7);
    cr_assert_eq(test_node_status(&a).gaps, 0);
    /* its next life knows them too */
    snprintf(first, sizeof first, "%s", test_node_status(&a).cursor);
    test_node_stop(&a);
    test_node_start(&a, true);
    ready(&a);
    began = head(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"other\"]}' by edge-9/99 again %s", first);
    TEST_WAIT(strcmp(test_node_status(&a).cursor, first) != 0);
    cr_assert_eq(head(&a), began);
}

static _Atomic int refusals;

static void refused(void *ctx, const char *why)
{
    (void)ctx;
    (void)why;
    atomic_fetch_add(&refusals, 1);
}

Test(redis, a_name_in_use_is_refused)
{
    b.o.node = "edge-1";
    b.o.sink.refused = refused;
    test_node_start(&a, false);
    ready(&a);
    TEST_WAIT(strstr(test_redis(&redis, "EXISTS brink:purge:node:edge-1"), "1") != NULL);
    test_node_start(&b, false);
    for (int i = 0; i < 2000 && atomic_load(&refusals) == 0; i++) {
        cr_assert(!purge_ready(b.p) && purge_in_doubt(b.p), "it may not be who it thinks it is");
        usleep(10 * 1000);
    }
    cr_assert_gt(atomic_load(&refusals), 0);
    /* its own former life is not another node */
    test_node_stop(&a);
    test_node_start(&a, true);
    ready(&a);
}

Test(redis, of_two_with_one_name_that_start_together_one_is_refused)
{
    b.o.node = "edge-1";
    a.o.sink.refused = b.o.sink.refused = refused;
    test_node_start(&a, false);
    test_node_start(&b, false);
    TEST_WAIT(purge_ready(a.p) || purge_ready(b.p));
    for (int i = 0; i < 2000 && atomic_load(&refusals) == 0; i++) {
        cr_assert_neq(purge_ready(a.p), purge_ready(b.p));
        usleep(10 * 1000);
    }
    cr_assert_gt(atomic_load(&refusals), 0);
}

Test(redis, a_name_whose_last_owner_is_gone_is_free_when_its_receipt_is)
{
    test_redis(&redis, "HSET brink:purge:node:edge-1 instance 00000000000000aa at 1 applied 0-0");
    test_redis(&redis, "EXPIRE brink:purge:node:edge-1 2");
    a.o.sink.refused = refused;
    test_node_start(&a, false);
    usleep(500 * 1000);
    bool early = purge_ready(a.p) || !purge_in_doubt(a.p);
    cr_assert(!early ||
              strstr(test_redis(&redis, "HGET brink:purge:node:edge-1 instance"), "00000000000000aa") == NULL);
    ready(&a);
    cr_assert_eq(atomic_load(&refusals), 0);
}

static _Atomic int answers;

static void has(void *ctx, bool yes)
{
    *(bool *)ctx = yes;
    atomic_fetch_add(&answers, 1);
}

Test(redis, a_shield_catches_up_with_an_edge)
{
    bool yes = false;
    both_ready();
    ledger_cursor_t none = {0}, c;
    cr_assert_eq(purge_has(b.p, &none), PURGE_HAS_YES);
    free(test_node_everywhere(&a, "{\"tags\":[\"t\"]}"));
    ledger_cursor(purge_ledger(a.p), &c);
    purge_catch_up(b.p, &c, 1000, has, &yes);
    TEST_WAIT(atomic_load(&answers) == 1);
    cr_assert(yes);
    cr_assert_eq(purge_has(b.p, &c), PURGE_HAS_YES);
    c.ms += 1000 * 1000; /* an entry that isn't there yet */
    cr_assert_eq(purge_has(b.p, &c), PURGE_HAS_ASK);
    purge_catch_up(b.p, &c, 200, has, &yes);
    TEST_WAIT(atomic_load(&answers) == 2);
    cr_assert_not(yes);
    /* another history: only with that very entry */
    ledger_cursor(purge_ledger(a.p), &c);
    memset(c.run_id, 'x', sizeof c.run_id - 1);
    purge_catch_up(b.p, &c, 1000, has, &yes);
    TEST_WAIT(atomic_load(&answers) == 3);
    cr_assert(yes);
    c.seq += 7;
    c.ms -= 5;
    purge_catch_up(b.p, &c, 1000, has, &yes);
    TEST_WAIT(atomic_load(&answers) == 4);
    cr_assert_not(yes);
}

Test(redis, password_and_database)
{
    test_redis(&redis, "CONFIG SET requirepass secret");
    a.o.redis.password = "secret";
    a.o.redis.db = 3;
    test_node_start(&a, false);
    ready(&a);
    b.o.redis.password = "wrong";
    test_node_start(&b, false);
    usleep(300 * 1000);
    cr_assert_not(purge_ready(b.p));
    free(test_node_everywhere(&a, "{\"tags\":[\"t\"]}"));
}
