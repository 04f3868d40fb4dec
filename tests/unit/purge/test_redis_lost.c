/* Nodes whose Redis is away, stands still, or has lost what it had: the journal bridges it, a loss is a gap, and what
 * was lost is entered again. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/policy/key.h"
#include "pair.h"

TestSuite(redis_lost, .init = pair_setup, .fini = pair_teardown, .timeout = 120);

/* ---- what Redis has on disk ---- */

static void does(const char *command)
{
    char in[64 + sizeof redis.dir];
    snprintf(in, sizeof in, "cd %s && %s", redis.dir, command);
    cr_assert_eq(system(in), 0, "%s", in);
}

static void copies(void)
{
    does("cp -r appendonlydir copy");
}

static void comes_back_after(const char *command)
{
    test_redis_kill(&redis, SIGKILL);
    does(command);
    test_redis_start(&redis);
}

/* To what was copied. */
static void goes_back(void)
{
    comes_back_after("rm -r appendonlydir && mv copy appendonlydir");
}

static void loses_all(void)
{
    comes_back_after("rm -rf appendonlydir");
}

Test(redis_lost, an_outage_of_redis_is_bridged_by_the_journal)
{
    both_ready();
    uint64_t began = head(&a), began_b = head(&b);
    test_redis_kill(&redis, SIGKILL);
    TEST_WAIT(test_node_status(&a).redis == PURGE_REDIS_DISCONNECTED);
    test_answer_t *x = test_node_purge(&a, "{\"tags\":[\"away\"]}");
    cr_assert_eq(x->o.err, ERR_OK);
    cr_assert_not(x->o.in_redis);
    cr_assert(strncmp(x->o.id, "journal:edge-1:", 15) == 0);
    cr_assert(purged(&a, "away", began) && !purged(&b, "away", began_b));
    cr_assert(purge_ready(a.p) && !purge_in_doubt(a.p));
    test_answer_t *y = test_node_purge(&a, "{\"tags\":[\"away2\"],\"wait\":\"fleet\"}");
    cr_assert_eq(y->o.err, ERR_TIMEOUT);
    free(y);
    /* outside the stream: a shield's copy from before it may not be used */
    span_t uri = SPAN("h/a");
    ledger_subject_t s = {.uri = uri, .uri_digest = key_uri_digest(uri)};
    ledger_demand_t d;
    purge_demand(a.p, &s, INT64_MAX / 2, &d);
    cr_assert_geq(d.newer_than, 0);
    test_node_stop(&a); /* it survives the node, too */
    test_node_start(&a, true);
    cr_assert(purged(&a, "away", began));
    cr_assert(purge_in_doubt(a.p));
    ledger_demand(purge_ledger(a.p), &s, INT64_MAX / 2, &d); /* since its start, doubt or not */
    cr_assert_geq(d.newer_than, 0);
    test_redis_start(&redis);
    ready(&a);
    TEST_WAIT(purged(&b, "away", began_b) && purged(&b, "away2", began_b));
    TEST_WAIT(test_node_status(&a).undelivered == 0);
    cr_assert_eq(entries(), 2);
    cr_assert_eq(test_node_status(&a).gaps, 0);
    cr_assert_eq(test_node_status(&b).gaps, 0);
    purge_demand(a.p, &s, INT64_MAX / 2, &d);
    cr_assert_eq(d.newer_than, -1);
    y = test_node_receipt(&a, x->o.id); /* the journal's ID has one of the stream now */
    cr_assert_eq(y->o.err, ERR_OK);
    cr_assert(y->o.in_redis && strchr(y->o.id, ':') == NULL);
    free(x);
    free(y);
}

static void expect_gap(test_node_t *n, uint64_t began, uint64_t gaps)
{
    TEST_WAIT(test_node_status(n).gaps > gaps);
    TEST_WAIT(test_node_check(n, "h/a", NULL, began) == MARK_STRICT);
    cr_assert_eq(test_node_check(n, "h/a", NULL, head(n)), MARK_NONE);
}

Test(redis_lost, entries_trimmed_unread_are_a_gap)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"first\"]}'");
    TEST_WAIT(test_node_status(&a).cursor[0] != '0');
    uint64_t began = head(&a);
    test_node_stop(&a);
    for (int i = 0; i < 10; i++)
        test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t%d\"]}'", i);
    test_redis(&redis, "XTRIM brink:purge MAXLEN 3");
    test_node_start(&a, true);
    ready(&a);
    expect_gap(&a, began, 0);
    cr_assert(purged(&a, "t9", began));
    /* while connected: added and gone before it can be read */
    uint64_t gaps = test_node_status(&a).gaps;
    began = head(&a);
    test_redis(&redis, "EVAL 'redis.call(\"XADD\",\"brink:purge\",\"*\",\"purge\",\"{}\") return "
                       "redis.call(\"XTRIM\",\"brink:purge\",\"MAXLEN\",0)' 0");
    expect_gap(&a, began, gaps);
    /* all of it trimmed after it was read is none */
    gaps = test_node_status(&a).gaps;
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"read\"]}'");
    TEST_WAIT(purged(&a, "read", began));
    test_redis(&redis, "XTRIM brink:purge MAXLEN 0");
    sleep(2);
    test_node_stop(&a);
    test_node_start(&a, true);
    ready(&a);
    cr_assert_eq(test_node_status(&a).gaps, 0);
}

Test(redis_lost, an_own_entry_that_was_trimmed_before_it_came_back_is_not_waited_for)
{
    char cmd[160];
    test_node_start(&a, false);
    ready(&a);
    snprintf(cmd, sizeof cmd, "redis-cli -p %d -r 1000000 XTRIM brink:purge MAXLEN 0 >/dev/null & echo $!", redis.port);
    FILE *f = popen(cmd, "r");
    int trimmer = 0;
    cr_assert(f != NULL && fscanf(f, "%d", &trimmer) == 1 && trimmer > 0);
    for (int i = 0; i < 500 && test_node_status(&a).gaps < 3; i++)
        free(test_node_purge(&a, "{\"tags\":[\"t\"]}"));
    kill(trimmer, SIGKILL);
    pclose(f);
    cr_assert_geq(test_node_status(&a).gaps, 3, "none was trimmed in time");
    free(test_node_purge(&a, "{\"tags\":[\"last\"]}"));
    TEST_WAIT(test_node_status(&a).undelivered == 0);
}

Test(redis_lost, a_lost_stream_is_a_gap_and_is_entered_again)
{
    both_ready();
    uint64_t began = head(&b);
    free(test_node_everywhere(&a, "{\"tags\":[\"mine\"]}"));
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"theirs\"]}'");
    TEST_WAIT(purged(&a, "theirs", 0) && purged(&b, "theirs", began));
    test_node_stop(&b);
    test_redis(&redis, "DEL brink:purge");
    expect_gap(&a, began, 0);
    TEST_WAIT(entries() >= 2);
    cr_assert(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "mine") != NULL);
    cr_assert(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "theirs") != NULL);
    test_node_start(&b, true);
    ready(&b);
    cr_assert_geq(test_node_status(&b).gaps, 1);
}

Test(redis_lost, another_empty_redis_is_a_gap)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"x\"]}'");
    TEST_WAIT(purged(&a, "x", 0));
    uint64_t began = head(&a);
    loses_all();
    expect_gap(&a, began, 0);
    TEST_WAIT(entries() == 1); /* entered again */
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"y\"]}'");
    TEST_WAIT(purged(&a, "y", began));
    cr_assert_eq(test_node_status(&a).gaps, 1);
}

Test(redis_lost, a_redis_that_lost_its_last_second)
{
    both_ready();
    free(test_node_everywhere(&a, "{\"tags\":[\"kept\"]}"));
    copies();
    uint64_t began = head(&b);
    free(test_node_everywhere(&a, "{\"tags\":[\"lost\"]}")); /* acknowledged, by all */
    test_node_stop(&b);
    goes_back();
    cr_assert_eq(entries(), 1);
    expect_gap(&a, began, 0);
    TEST_WAIT(entries() == 2);
    const char *all = test_redis(&redis, "XRANGE brink:purge - +");
    cr_assert(strstr(all, "kept") != NULL && strstr(all, "lost") != NULL && strstr(all, "edge-1/2") != NULL, "%s", all);
    test_node_start(&b, true);
    ready(&b);
    cr_assert(purged(&b, "lost", began));
    cr_assert_eq(test_node_status(&a).gaps, 1);
}

static bool settled(test_node_t *n, int count, uint64_t gaps)
{
    for (int i = 0; i < count; i++)
        if (test_node_status(&n[i]).undelivered != 0 || test_node_status(&n[i]).gaps != gaps)
            return false;
    return true;
}

Test(redis_lost, what_a_fleet_lost_comes_back_once_however_often_it_is_lost)
{
    enum { NODES = 4, PURGES = 60 };
    static test_node_t n[NODES];
    char name[NODES][24], cursor[NODES][48];
    for (int i = 0; i < NODES; i++) {
        snprintf(name[i], sizeof name[i], "node-%d", i);
        test_node_init(&n[i], name[i], &redis);
        test_node_start(&n[i], false);
        ready(&n[i]);
    }
    for (int i = 0; i < PURGES; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"tags\":[\"t%d\"]}", i);
        free(test_node_purge(&n[i % NODES], json));
    }
    test_redis(&redis, "XADD brink:purge * purge '{\"gap\":true}'");
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"by an application\"]}'");
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"by an application\"]}'"); /* equal ones are two */
    TEST_WAIT(settled(n, NODES, 1));
    for (int i = 0; i < NODES; i++)
        TEST_WAIT(strstr(test_redis(&redis, "XREVRANGE brink:purge + - COUNT 1"), test_node_status(&n[i]).cursor) !=
                  NULL);
    for (int times = 1; times <= 3; times++) {
        uint64_t heads[NODES];
        for (int i = 0; i < NODES; i++)
            heads[i] = head(&n[i]);
        test_redis(&redis, times == 3 ? "FLUSHALL" : "DEL brink:purge");
        TEST_WAIT(entries() >= PURGES + 2);
        TEST_WAIT(settled(n, NODES, 1 + (uint64_t)times));
        usleep(1500 * 1000);
        int back = entries(); /* one that comes twice is allowed, one that doesn't come isn't */
        cr_assert(back >= PURGES + 2 && back <= PURGES + 2 + NODES, "%d entries after loss %d", back, times);
        cr_assert_null(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "gap"));
        cr_assert(settled(n, NODES, 1 + (uint64_t)times));
        for (int i = 0; i < NODES; i++) {
            cr_assert_eq(head(&n[i]), heads[i] + 1, "%d: what comes back has no second effect", i);
            snprintf(cursor[i], sizeof cursor[i], "%s", test_node_status(&n[i]).cursor);
            cr_assert_str_eq(cursor[i], cursor[0]);
        }
    }
    for (int i = 0; i < NODES; i++)
        test_node_drop(&n[i]);
}

Test(redis_lost, a_stream_that_is_filled_before_anyone_looks_is_lost_all_the_same)
{
    test_node_start(&a, false);
    ready(&a);
    for (int i = 0; i < 3; i++)
        free(test_node_purge(&a, "{\"tags\":[\"mine\"]}"));
    TEST_WAIT(test_node_status(&a).undelivered == 0);
    test_redis(&redis,
               "EVAL 'redis.call(\"DEL\",\"brink:purge\") for i=1,5 do "
               "redis.call(\"XADD\",\"brink:purge\",\"*\",\"purge\",ARGV[1]) end return 1' 0 '{\"tags\":[\"new\"]}'");
    TEST_WAIT(entries() == 8 && test_node_status(&a).undelivered == 0);
    cr_assert(purged(&a, "new", 0));
    cr_assert_eq(test_node_status(&a).gaps, 1);
}

Test(redis_lost, a_gap_does_not_come_back_where_nothing_of_before_is_left)
{
    test_node_start(&a, false);
    ready(&a);
    free(test_node_purge(&a, "{\"tags\":[\"mine\"]}"));
    test_redis(&redis, "XADD brink:purge * purge '{\"gap\":true}'");
    TEST_WAIT(test_node_status(&a).gaps == 1 && test_node_status(&a).undelivered == 0);
    test_redis(&redis, "EVAL 'redis.call(\"DEL\",\"brink:purge\") for i=1,3 do "
                       "redis.call(\"XADD\",\"brink:purge\",\"*\",\"purge\",ARGV[1]) end return 1' 0 "
                       "'{\"tags\":[\"by others\"]}'");
    TEST_WAIT(entries() == 4 && test_node_status(&a).undelivered == 0);
    usleep(200 * 1000);
    cr_assert_null(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "gap"));
    cr_assert_eq(test_node_status(&a).gaps, 2);
}

Test(redis_lost, a_gap_that_was_lost_with_the_last_second_reaches_who_was_away)
{
    both_ready();
    free(test_node_everywhere(&a, "{\"tags\":[\"kept\"]}"));
    copies();
    uint64_t began = head(&b);
    test_node_stop(&b);
    test_redis(&redis, "XADD brink:purge * purge '{\"gap\":true}'");
    test_redis(&redis, "XADD brink:purge * purge '{\"gap\":true}'");
    free(test_node_purge(&a, "{\"tags\":[\"lost\"]}"));
    TEST_WAIT(test_node_status(&a).gaps == 2 && test_node_status(&a).undelivered == 0);
    goes_back();
    TEST_WAIT(entries() == 3 && test_node_status(&a).undelivered == 0);
    cr_assert_eq(test_node_status(&a).gaps, 3, "the loss is one, and what comes back is none");
    test_node_start(&b, true);
    ready(&b);
    cr_assert(purged(&b, "lost", began));
    cr_assert_eq(test_node_status(&b).gaps, 1);
}

Test(redis_lost, what_redis_lost_is_entered_again_by_the_next_life_of_a_node)
{
    test_node_start(&a, false);
    ready(&a);
    free(test_node_purge(&a, "{\"tags\":[\"mine\"]}"));
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"theirs\"]}' by other/7");
    TEST_WAIT(purged(&a, "theirs", 0) && test_node_status(&a).undelivered == 0);
    loses_all();
    /* it finds out what is missing, and can't enter it in this life */
    test_redis(&redis, "ACL SETUSER default -xadd");
    TEST_WAIT(test_node_status(&a).gaps >= 1 && test_node_status(&a).undelivered == 2);
    test_node_stop(&a);
    test_redis(&redis, "ACL SETUSER default +xadd");
    cr_assert_eq(entries(), 0);
    test_node_start(&a, true);
    ready(&a);
    TEST_WAIT(entries() == 2 && test_node_status(&a).undelivered == 0);
    cr_assert_not_null(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "other/7"));
    cr_assert_not_null(strstr(test_redis(&redis, "XRANGE brink:purge - +"), "edge-1/1"));
}

Test(redis_lost, what_is_entered_again_for_others_is_not_waited_for_after_that)
{
    both_ready();
    uint64_t began = head(&a);
    free(test_node_everywhere(&b, "{\"tags\":[\"by a node\"]}"));
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"by an application\"]}'");
    TEST_WAIT(purged(&a, "by an application", began) && purged(&b, "by an application", began));
    test_redis(&redis, "FLUSHALL");
    TEST_WAIT(test_node_status(&a).gaps == 1 && test_node_status(&b).gaps == 1);
    TEST_WAIT(entries() >= 2);
    TEST_WAIT(test_node_status(&a).undelivered == 0 && test_node_status(&b).undelivered == 0);
}

/* After a gap, a purge that is in the stream is no longer demanded of the shields beside it: else they could not answer
 * with anything older than the latest one, for as long as the node lives. */
Test(redis_lost, what_comes_after_a_gap_does_not_stay_outside)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"t\"]}'");
    TEST_WAIT(purged(&a, "t", 0));
    test_redis(&redis, "FLUSHALL");
    TEST_WAIT(test_node_status(&a).gaps == 1 && test_node_status(&a).undelivered == 0);
    usleep(50 * 1000);
    msec_t before = clock_now().boot;
    test_answer_t *x = test_node_purge(&a, "{\"tags\":[\"u\"]}");
    cr_assert_eq(x->o.err, ERR_OK);
    free(x);
    TEST_WAIT(test_node_status(&a).undelivered == 0);
    ledger_subject_t s = {.uri = SPAN("h/a"), .uri_digest = key_uri_digest(SPAN("h/a"))};
    ledger_demand_t d;
    msec_t now = clock_now().boot;
    ledger_demand(purge_ledger(a.p), &s, now, &d);
    cr_assert_gt(d.newer_than, now - before, "%lld of %lld ms", (long long)d.newer_than, (long long)(now - before));
}

/* What a Redis that has lost everything doesn't know any more, the nodes do: who is alive and hasn't come back yet is
 * waited for, as long as its receipt would have lived. */
Test(redis_lost, a_node_that_redis_forgot_is_waited_for)
{
    both_ready();
    TEST_WAIT(strstr(test_redis(&redis, "EXISTS brink:purge:node:edge-1 brink:purge:node:edge-2"), "2") != NULL);
    test_answer_t *x = test_node_everywhere(&a, "{\"tags\":[\"t\"]}");
    cr_assert_eq(x->o.nodes_n, 2);
    free(x);
    test_node_stop(&b); /* to a node that doesn't see it go, it is one that has not found its way back */
    test_redis(&redis, "FLUSHALL");
    TEST_WAIT(test_node_status(&a).gaps == 1 && test_node_status(&a).undelivered == 0);
    TEST_WAIT(strstr(test_redis(&redis, "EXISTS brink:purge:node:edge-1"), "1") != NULL);
    x = test_node_purge(&a, "{\"tags\":[\"u\"],\"wait\":\"fleet\",\"timeout\":\"300ms\"}");
    cr_assert_eq(x->o.err, ERR_TIMEOUT, "err %d", x->o.err);
    cr_assert_eq(x->o.nodes_n, 2);
    for (size_t i = 0; i < 2; i++) {
        bool other = strcmp(x->o.nodes[i].name, "edge-2") == 0;
        cr_assert(x->o.nodes[i].live && (x->o.nodes[i].applied_ms < 0) == other, "%s", x->o.nodes[i].name);
    }
    free(x);
    test_node_start(&b, false);
    x = test_node_everywhere(&a, "{\"tags\":[\"v\"]}");
    cr_assert(x->o.nodes_n == 2 && x->o.nodes[1].applied_ms >= 0);
    free(x);
}

Test(redis_lost, another_redis_whose_numbers_agree_is_a_gap)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"x\"]}'");
    TEST_WAIT(purged(&a, "x", 0));
    uint64_t began = head(&a);
    test_node_stop(&a);
    loses_all();
    /* one entry before the cursor, one behind it: the count grows just as if only the second had been added */
    test_redis(&redis, "XADD brink:purge 1-1 purge '{\"tags\":[\"never seen\"]}'");
    test_redis(&redis, "XADD brink:purge * purge '{\"tags\":[\"y\"]}'");
    test_node_start(&a, true);
    ready(&a);
    expect_gap(&a, began, 0);
    TEST_WAIT(purged(&a, "y", began));
    TEST_WAIT(entries() == 3); /* what this node knew is entered again */
}

Test(redis_lost, a_gap_may_flush_or_be_ignored)
{
    a.o.on_gap = PURGE_GAP_FLUSH;
    b.o.on_gap = PURGE_GAP_IGNORE;
    both_ready();
    uint64_t began_a = head(&a), began_b = head(&b);
    test_redis(&redis, "XADD brink:purge * purge '{\"gap\":true}'");
    TEST_WAIT(test_node_status(&a).gaps == 1 && test_node_status(&b).gaps == 1);
    cr_assert_eq(test_node_check(&a, "h/a", NULL, began_a), MARK_HARD);
    cr_assert_eq(test_node_check(&b, "h/a", NULL, began_b), MARK_NONE);
}

Test(redis_lost, a_start_without_redis)
{
    test_redis_kill(&redis, SIGKILL);
    a.o.start_without_redis = 1500;
    test_node_start(&a, true);
    usleep(300 * 1000);
    cr_assert(!purge_ready(a.p) && purge_in_doubt(a.p));
    ready(&a);
    cr_assert_eq(test_node_status(&a).gaps, 1);
    cr_assert_eq(test_node_check(&a, "h/a", NULL, 0), MARK_STRICT);
    uint64_t began = head(&a);
    test_redis_start(&redis);
    TEST_WAIT(test_node_status(&a).redis == PURGE_REDIS_CONNECTED && test_node_status(&a).cursor[0] != '\0');
    cr_assert_eq(test_node_check(&a, "h/a", NULL, began), MARK_STRICT); /* no cursor until now */
}

Test(redis_lost, away_for_longer_than_allowed)
{
    a.o.max_disconnected = 1000;
    test_node_start(&a, false);
    ready(&a);
    uint64_t began = head(&a);
    test_redis_kill(&redis, SIGKILL);
    expect_gap(&a, began, 0);
    TEST_WAIT(purge_in_doubt(a.p));
    cr_assert(purge_ready(a.p));
    test_redis_start(&redis);
    TEST_WAIT(!purge_in_doubt(a.p));
}

Test(redis_lost, a_stopped_redis_is_noticed_and_does_not_block)
{
    test_node_start(&a, false);
    ready(&a);
    test_redis_kill(&redis, SIGSTOP);
    uint64_t began = head(&a);
    test_answer_t *x = test_node_purge(&a, "{\"tags\":[\"t\"]}"); /* 250 ms, then the journal's word is enough */
    cr_assert_eq(x->o.err, ERR_OK);
    cr_assert_not(x->o.in_redis);
    cr_assert(purged(&a, "t", began));
    free(x);
    TEST_WAIT(test_node_status(&a).redis == PURGE_REDIS_DISCONNECTED);
    test_redis_kill(&redis, SIGCONT);
    TEST_WAIT(test_node_status(&a).redis == PURGE_REDIS_CONNECTED && test_node_status(&a).undelivered == 0);
    cr_assert_geq(entries(), 1); /* the XADD may have come through before the time was up, and then again */
    cr_assert_leq(entries(), 2);
}

Test(redis_lost, who_is_missing_is_known_while_redis_is_away)
{
    test_node_start(&a, false);
    ready(&a);
    test_node_start(&b, false);
    ready(&b);
    free(test_node_purge(&a, "{\"tags\":[\"t\"]}")); /* nobody has asked for the fleet */
    sleep(6);
    test_redis_kill(&redis, SIGSTOP);
    for (int i = 0; i < 2; i++) { /* at once, and when it has been noticed, with a question that got no answer */
        test_answer_t *x = test_node_purge(&a, "{\"tags\":[\"away\"],\"wait\":\"fleet\",\"timeout\":\"500ms\"}");
        cr_assert(x->o.err == ERR_TIMEOUT && x->o.pending && x->o.nodes_n == 2);
        test_answer_t *r = test_node_receipt(&a, x->o.id);
        cr_assert(r->o.err == ERR_OK && r->o.pending && r->o.nodes_n == 2);
        for (size_t n = 0; n < 2; n++) {
            bool me = strcmp(x->nodes[n].name, "edge-1") == 0;
            cr_expect(x->nodes[n].live && (x->nodes[n].applied_ms >= 0) == me);
            cr_expect(r->nodes[n].live && (r->nodes[n].applied_ms >= 0) == (strcmp(r->nodes[n].name, "edge-1") == 0));
        }
        free(x);
        free(r);
        if (i == 0)
            TEST_WAIT(test_node_status(&a).redis == PURGE_REDIS_DISCONNECTED);
        sleep(i == 0 ? 3 : 0);
    }
    test_redis_kill(&redis, SIGCONT);
    TEST_WAIT(test_node_status(&a).undelivered == 0);
}
