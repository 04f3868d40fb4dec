/* Compaction: what the ledger forgets can't matter any more.
 *
 * First every order of a small world: a page that changes and is purged, a fetch, one copy in memory, one queued for
 * the disk, one there, one on its way back, and the walks over both tiers that come before the ledger forgets. After
 * each step a request is made; what it is served must not be older than the last purge, and what was never purged must
 * not be lost by forgetting. The ledger is the real one, and so is the order of what a record keeps. Then the same with
 * one rule left out at a time: each time some order must go wrong.
 *
 * Then the node's own upkeep, with a disk, on the simulated request path. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edge/node_upkeep.h"
#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "world.h"

/* ---- the small world ---- */

enum rule {
    RULE_NONE = 0,
    RULE_WALK_THE_DISK = 1u << 0,          /* before saying that it was swept */
    RULE_CHECK_AT_WRITE = 1u << 1,         /* before saying up to where it was checked */
    RULE_SWEPT_WITH_THE_MARK = 1u << 2,    /* a reader looks at both at once */
    RULE_FORGET_AFTER_THE_WALKS = 1u << 3, /* not up to the head */
    RULE_WAIT_FOR_FETCHES = 1u << 4,
    RULE_LAST = RULE_WAIT_FOR_FETCHES
};

enum step {
    STEP_CHANGE,  /* the page changes and is purged */
    STEP_OTHER,   /* something else is purged */
    STEP_SEND,    /* a fetch begins; its answer is the page of now */
    STEP_COMMIT,  /* and is stored */
    STEP_QUEUE,   /* the copy in memory is queued for the disk, and leaves memory */
    STEP_WRITE,   /* and is written */
    STEP_READ,    /* a helper thread reads the record */
    STEP_PROMOTE, /* and it arrives in memory */
    STEP_WALK,    /* both walks begin */
    STEP_MEMORY,  /* ... look at memory */
    STEP_DISK,    /* ... at the record on disk, and are through with it */
    STEP_FORGET,
    STEPS
};

enum { DEPTH = 7 /* after the first fetch */ };

typedef struct copy {
    bool there;
    int version;
    uint64_t began, checked;
    uint32_t mark;
} copy_t;

typedef struct small {
    ledger_t *l;
    unsigned without;
    int version, purged;
    bool lost; /* something that was never purged */
    bool sent, reading, walking, memory_walked, disk_walked;
    copy_t fetch, memory, queued, disk, read;
    uint64_t walk, swept;
} small_t;

static digest_t tag;
static ledger_subject_t subject;

static mark_t small_check(small_t *w, copy_t *c)
{
    ledger_stamp_t st;
    ledger_stamp_restore(&st, c->began, c->checked, (mark_t)c->mark);
    mark_t m = ledger_stamp_check(w->l, &st, &subject);
    c->checked = atomic_load(&st.checked_to);
    c->mark = m;
    return m;
}

/* In memory, and as a fetch, nothing may be given up that wasn't purged. */
static mark_t small_check_kept(small_t *w, copy_t *c)
{
    mark_t m = small_check(w, c);
    w->lost |= m == MARK_HARD && c->version >= w->purged;
    return m;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* False: the step can't be taken here. */
static bool small_step(small_t *w, enum step s)
{
    switch (s) {
    case STEP_CHANGE: {
        ledger_value_t v = {.kind = LEDGER_TAG, .digest = tag};
        w->purged = ++w->version;
        ledger_append(w->l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1}, NULL);
        return true;
    }
    case STEP_OTHER: {
        ledger_value_t v = {.kind = LEDGER_TAG, .digest = {1, 1}};
        ledger_append(w->l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1}, NULL);
        return true;
    }
    case STEP_SEND:
        if (w->sent)
            return false;
        w->sent = true;
        w->fetch = (copy_t){.version = w->version, .began = ledger_head(w->l)};
        w->fetch.checked = w->fetch.began;
        return true;
    case STEP_COMMIT:
        if (!w->sent)
            return false;
        w->sent = false;
        if (small_check_kept(w, &w->fetch) == MARK_NONE) {
            w->memory = w->fetch;
            w->memory.there = true;
        }
        return true;
    case STEP_QUEUE:
        if (!w->memory.there)
            return false;
        w->queued = w->memory;
        w->memory.there = false;
        return true;
    case STEP_WRITE:
        if (!w->queued.there)
            return false;
        if (w->without & RULE_CHECK_AT_WRITE)
            w->queued.checked = ledger_head(w->l);
        if (small_check(w, &w->queued) != MARK_HARD)
            w->disk = w->queued;
        w->queued.there = false;
        return true;
    case STEP_READ:
        if (!w->disk.there || w->reading)
            return false;
        w->reading = true;
        w->read = w->disk;
        w->read.checked = later(w->read.checked, w->swept);
        return true;
    case STEP_PROMOTE:
        if (!w->reading || w->memory.there)
            return false;
        w->reading = false;
        if (w->without & RULE_SWEPT_WITH_THE_MARK)
            w->read.checked = later(w->read.checked, w->swept);
        if (small_check(w, &w->read) != MARK_HARD)
            w->memory = w->read;
        return true;
    case STEP_WALK:
        w->walk = ledger_head(w->l);
        w->walking = true;
        w->memory_walked = w->disk_walked = false;
        return true;
    case STEP_MEMORY:
        if (!w->walking || w->memory_walked)
            return false;
        w->memory_walked = true;
        if (w->memory.there && small_check_kept(w, &w->memory) == MARK_HARD)
            w->memory.there = false;
        return true;
    case STEP_DISK:
        if (!w->walking || w->disk_walked)
            return false;
        w->disk_walked = true;
        w->disk.checked = later(w->disk.checked, w->swept);
        if (w->disk.there && !(w->without & RULE_WALK_THE_DISK) && small_check_kept(w, &w->disk) == MARK_HARD)
            w->disk.there = false;
        w->swept = w->walk;
        return true;
    case STEP_FORGET: {
        if (!w->memory_walked || !w->disk_walked)
            return false;
        uint64_t floor = w->without & RULE_FORGET_AFTER_THE_WALKS ? ledger_head(w->l) : w->walk;
        if (w->sent && w->fetch.began < floor && !(w->without & RULE_WAIT_FOR_FETCHES))
            floor = w->fetch.began;
        ledger_compact(w->l, floor);
        return true;
    }
    default:
        return false;
    }
}

static bool small_wrong(small_t *w, bool looks)
{
    copy_t look = w->memory; /* without `looks` the request's own check isn't remembered */
    if (!w->memory.there)
        return w->lost;
    mark_t m = small_check_kept(w, looks ? &w->memory : &look);
    return w->lost || (m == MARK_NONE && w->memory.version < w->purged);
}

/* All orders, until more than `most_wrong` have gone wrong, that begin with a fetch that was stored (nothing happens
 * without one). */
static unsigned long explore(unsigned without, bool looks, unsigned long most_wrong, unsigned long *orders)
{
    enum step path[DEPTH] = {0};
    unsigned long wrong = 0;
    *orders = 0;
    for (;;) {
        small_t w = {.without = without, .l = ledger_new(1, 0)};
        int at = 0;
        bool bad = false;
        small_step(&w, STEP_SEND);
        small_step(&w, STEP_COMMIT);
        for (; at < DEPTH && !bad && small_step(&w, path[at]); at++)
            bad = small_wrong(&w, looks);
        ledger_free(w.l);
        wrong += bad;
        *orders += at == DEPTH || bad;
        int last = bad ? at - 1 : at < DEPTH ? at : DEPTH - 1; /* behind that, nothing needs trying */
        memset(path + last + 1, 0, sizeof *path * (size_t)(DEPTH - 1 - last));
        while (last >= 0 && ++path[last] == STEPS)
            path[last--] = 0;
        if (last < 0 || wrong > most_wrong)
            return wrong;
    }
}

static void setup(void)
{
    tag = tags_digest(SPAN("t"));
    span_t uri = SPAN("h/a");
    subject = (ledger_subject_t){.uri = uri, .uri_digest = key_uri_digest(uri), .tags = &tag, .tags_n = 1};
}
TestSuite(sim_compact, .init = setup);

Test(sim_compact, no_order_serves_what_was_purged_or_loses_what_was_not)
{
    unsigned long orders;
    for (int looks = 0; looks < 2; looks++) {
        cr_assert_eq(explore(RULE_NONE, looks, 0, &orders), 0);
        cr_assert_gt(orders, 20000, "%lu", orders);
    }
}

Test(sim_compact, without_any_one_rule_some_order_does)
{
    unsigned long orders;
    for (unsigned rule = 1; rule <= RULE_LAST; rule <<= 1)
        cr_expect_gt(explore(rule, false, 0, &orders), 0, "rule %#x", rule);
}

/* ---- the node's upkeep ---- */

enum { PAGES = 40, NOISE = 3000 };

static world_t *world(node_upkeep_t *u, bool disk)
{
    world_t *w = world_open(&(world_options_t){.disk = disk, .more = "memory: {size: 8MiB, max_object: 256KiB}"});
    node_upkeep_init(u, w->store, w->purge, w->collapse, disk);
    u->every = u->disk_every = u->disk_least = 0;
    return w;
}

static void fill(world_t *w, int page)
{
    char target[32], lines[160], body[32];
    snprintf(target, sizeof target, "/%d", page);
    snprintf(lines, sizeof lines,
             "cache-control: max-age=3600, stale-while-revalidate=3600\netag: \"%d\"\ncache-tag: t%d", page, page);
    snprintf(body, sizeof body, "page %d", page);
    world_get(w, 0, target, NULL);
    if (w->warm != NULL)
        world_disk(w);
    world_answer(w, world_last_call(w), 200, lines, body);
    for (int i = 0; i < 2; i++) /* worth the disk */
        world_get(w, 0, target, NULL);
}

static void noise(world_t *w)
{
    char name[32];
    for (int i = 0; i < NOISE; i++) {
        snprintf(name, sizeof name, "noise %d", i);
        world_purge(w, LEDGER_TAG, name, MARK_HARD);
    }
}

static ledger_stats_t ticked(world_t *w, node_upkeep_t *u, uint64_t floor)
{
    ledger_stats_t s = {0};
    for (int i = 0; i < 5000 && s.compacted < floor; i++) {
        node_upkeep_tick(u, w->warm, w->now);
        ledger_stats(w->ledger, &s);
        if (w->warm != NULL && s.compacted < floor)
            usleep(1000); /* the disk's writer walks by itself */
    }
    return s;
}

static const char *cache_word(world_t *w, int page)
{
    char target[32];
    snprintf(target, sizeof target, "/%d", page);
    size_t calls = w->calls;
    world_client_t *c = world_get(w, 1, target, NULL);
    if (w->warm != NULL)
        world_disk(w);
    if (c->head && w->calls == calls)
        return world_says(c, "x-cache", "HIT") ? "hit" : "other";
    if (c->head) { /* served, and revalidated behind it */
        world_answer(w, world_last_call(w), 304, "", "");
        return "stale";
    }
    bool asked = false; /* with validators? */
    for (size_t i = 0; i < world_last_call(w)->fields.n; i++)
        asked |= span_eq(world_last_call(w)->fields.v[i].name, SPAN("if-none-match"));
    world_answer(w, world_last_call(w), 200, "cache-control: max-age=3600", "new");
    return asked ? "validated" : "fetched";
}

static store_fate_t all_objects(object_t *o, void *arg)
{
    (void)o;
    (void)arg;
    return STORE_REMOVE;
}

static void upkeep_compacts(bool disk)
{
    node_upkeep_t u;
    world_t *w = world(&u, disk);
    for (int i = 0; i < PAGES; i++)
        fill(w, i);
    if (disk)
        world_disk(w);
    for (int i = 0; i < PAGES; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d", i);
        if (i % 4 != 0)
            world_purge(w, LEDGER_TAG, name, i % 4 == 1 ? MARK_HARD : i % 4 == 2 ? MARK_SOFT : MARK_STRICT);
    }
    noise(w);
    uint64_t head = ledger_head(w->ledger);
    ledger_stats_t s = ticked(w, &u, head);
    cr_assert_geq(s.compacted, head);
    cr_expect_eq(s.values, 0, "%zu values are kept", s.values);
    if (disk) { /* and what is only there says the same */
        uint64_t cursor = 0;
        warm_t *warm = w->warm;
        w->warm = NULL;
        do
            store_sweep(w->store, &cursor, 1000, all_objects, NULL);
        while (cursor != 0);
        w->warm = warm;
    }
    static const char *const expected[] = {"hit", "fetched", "stale", "validated"};
    for (int i = 0; i < PAGES; i++) {
        const char *word = cache_word(w, i);
        cr_expect_str_eq(word, expected[i % 4], "page %d: %s instead of %s", i, word, expected[i % 4]);
    }
    world_free(w);
}

Test(sim_compact, memory_alone)
{
    upkeep_compacts(false);
}

Test(sim_compact, memory_and_disk)
{
    upkeep_compacts(true);
}

Test(sim_compact, a_running_fetch_holds_it_back_and_is_kept)
{
    node_upkeep_t u;
    world_t *w = world(&u, false);
    noise(w);
    uint64_t before = ledger_head(w->ledger);
    world_client_t *c = world_get(w, 0, "/slow", NULL);
    world_call_t *call = world_last_call(w);
    world_head(w, call, 200, "cache-control: max-age=3600\ncache-tag: slow", 8);
    noise(w);
    ledger_stats_t s = ticked(w, &u, before);
    cr_expect_eq(s.compacted, before);
    cr_expect_geq(s.values, NOISE);
    world_body(w, call, "the page");
    world_end(w, call, UPSTREAM_OK);
    cr_expect(c->done);
    cr_expect(world_says(world_get(w, 0, "/slow", NULL), "x-cache", "HIT"));
    s = ticked(w, &u, ledger_head(w->ledger));
    cr_expect_eq(s.values, 0);
    cr_expect(world_says(world_get(w, 0, "/slow", NULL), "x-cache", "HIT"));
    world_free(w);
}

Test(sim_compact, nothing_is_forgotten_while_the_disk_is_out_of_sight)
{
    node_upkeep_t u;
    world_t *w = world(&u, true);
    noise(w);
    for (int i = 0; i < 10; i++)
        node_upkeep_tick(&u, NULL, w->now);
    ledger_stats_t s;
    ledger_stats(w->ledger, &s);
    cr_expect_eq(s.compacted, 0);
    cr_expect_eq(s.values, NOISE);
    world_free(w);
}
