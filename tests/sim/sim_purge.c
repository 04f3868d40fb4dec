/* Every order of a small world: a writer who changes a page and purges it, a fetch that may be anywhere between its
 * beginning and its commit, one object in memory and one on disk, a revalidation, a restart. After each step a request
 * is made; what it is served must not be older than the last purge. The ledger is the real one, used as its header
 * tells.
 *
 * Then the same with one rule left out at a time: each time some order must go wrong, or this test proves nothing. */
#include <criterion/criterion.h>
#include <string.h>

#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "purge/ledger.h"

enum rule {
    RULE_NONE = 0,
    RULE_CHECK_AT_COMMIT = 1u << 0,    /* of a fill */
    RULE_CHECK_AT_PROMOTION = 1u << 1, /* from disk */
    RULE_LEDGER_AT_RESTART = 1u << 2,  /* the journal is read */
    RULE_BEGAN_BEFORE_SEND = 1u << 3,  /* not when the answer comes */
    RULE_HARD_SENDS_NO_VALIDATORS = 1u << 4,
    RULE_RUN_COUNTED = 1u << 5 /* positions go on after a restart */
};

enum step {
    STEP_CHANGE,
    STEP_SEND,
    STEP_ANSWER,
    STEP_COMMIT,
    STEP_DEMOTE,
    STEP_PROMOTE,
    STEP_REVALIDATE,
    STEP_RESTART,
    STEPS
};

#ifdef __SANITIZE_ADDRESS__ /* a ledger takes a hundred times as long to make: minutes, on a busy machine */
enum { DEPTH = 8, ORDERS = 5000, MAX_PURGES = DEPTH };
#else
enum { DEPTH = 9, ORDERS = 20000, MAX_PURGES = DEPTH };
#endif

typedef struct copy {
    bool there;
    int version;
    uint64_t began;
    ledger_stamp_t stamp;
} copy_t;

typedef struct world {
    ledger_t *l;
    unsigned without;    /* rules left out */
    int version, purged; /* at the origin; at the last purge */
    uint64_t purges[MAX_PURGES];
    int purges_n;
    uint64_t runs;
    bool sent, answered;
    copy_t fetch, memory, disk;
} world_t;

static digest_t tag;
static ledger_subject_t subject;

static void world_ledger(world_t *w, bool load)
{
    ledger_free(w->l);
    w->l = ledger_new(1, 0);
    for (int i = 0; load && i < w->purges_n; i++)
        ledger_load_value(w->l, &(ledger_value_t){.kind = LEDGER_TAG, .digest = tag},
                          &(ledger_marks_t){.hard = w->purges[i]});
    ledger_load_head(w->l, w->without & RULE_RUN_COUNTED ? 0 : w->runs << 32);
    w->runs++;
}

static mark_t world_check(world_t *w, copy_t *c)
{
    return ledger_stamp_check(w->l, &c->stamp, &subject);
}

/* False: the step can't be taken here. */
static bool world_step(world_t *w, enum step s)
{
    switch (s) {
    case STEP_CHANGE: {
        ledger_value_t v = {.kind = LEDGER_TAG, .digest = tag};
        w->version++;
        w->purges[w->purges_n++] =
            ledger_append(w->l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1}, NULL);
        w->purged = w->version;
        return true;
    }
    case STEP_SEND:
        if (w->sent)
            return false;
        w->sent = true;
        w->answered = false;
        w->fetch.began = ledger_head(w->l);
        return true;
    case STEP_ANSWER: /* the origin reads its page; the answer is on its way */
        if (!w->sent || w->answered)
            return false;
        w->answered = true;
        w->fetch.version = w->version;
        return true;
    case STEP_COMMIT:
        if (!w->answered || !w->sent)
            return false;
        w->sent = false;
        ledger_stamp_init(&w->fetch.stamp, w->without & RULE_BEGAN_BEFORE_SEND ? ledger_head(w->l) : w->fetch.began);
        w->fetch.began = w->fetch.stamp.began;
        if (w->without & RULE_CHECK_AT_COMMIT)
            ledger_stamp_restore(&w->fetch.stamp, w->fetch.began, ledger_head(w->l), MARK_NONE);
        else if (world_check(w, &w->fetch) != MARK_NONE)
            return true;
        w->memory = w->fetch;
        w->memory.there = true;
        return true;
    case STEP_DEMOTE: /* keeps began and the verdict */
        if (!w->memory.there)
            return false;
        w->disk = w->memory;
        w->memory.there = false;
        return true;
    case STEP_PROMOTE:
        if (!w->disk.there || w->memory.there)
            return false;
        w->memory = w->disk;
        ledger_stamp_restore(&w->memory.stamp, w->disk.began,
                             w->without & RULE_CHECK_AT_PROMOTION ? ledger_head(w->l) : w->disk.began,
                             (mark_t)atomic_load(&w->disk.stamp.mark));
        w->memory.there = w->without & RULE_CHECK_AT_PROMOTION || world_check(w, &w->memory) != MARK_HARD;
        return true;
    case STEP_REVALIDATE: { /* asked and answered at once: the origin has a weak idea of change and always says 304 */
        if (!w->memory.there)
            return false;
        mark_t m = world_check(w, &w->memory);
        if (m == MARK_HARD && !(w->without & RULE_HARD_SENDS_NO_VALIDATORS))
            return true;
        ledger_stamp_init(&w->memory.stamp, atomic_load(&w->memory.stamp.checked_to));
        w->memory.began = w->memory.stamp.began;
        return true;
    }
    case STEP_RESTART:
        w->memory.there = w->sent = false;
        world_ledger(w, !(w->without & RULE_LEDGER_AT_RESTART));
        return true;
    default:
        return false;
    }
}

/* What would a request get? -1: the origin's. */
static int world_serve(world_t *w)
{
    return w->memory.there && world_check(w, &w->memory) == MARK_NONE ? w->memory.version : -1;
}

/* Tries all orders of up to DEPTH steps; the number of those that served something older than the last purge. `looks`:
 * a request is made after each step (and marks what it sees), or only at the end. */
static unsigned long explore(unsigned without, bool looks, unsigned long *orders)
{
    enum step path[DEPTH] = {0};
    unsigned long wrong = 0;
    *orders = 0;
    for (;;) {
        world_t w = {.without = without};
        int at = 0;
        bool bad = false;
        world_ledger(&w, false);
        for (; at < DEPTH; at++) {
            if (!world_step(&w, path[at]))
                break;
            int got = looks || at == DEPTH - 1 ? world_serve(&w) : -1;
            if ((bad = got >= 0 && got < w.purged))
                break;
        }
        ledger_free(w.l);
        wrong += bad;
        *orders += at == DEPTH || bad;
        /* the next order: behind a step that can't be taken, nothing needs trying */
        int last = at < DEPTH ? at : DEPTH - 1;
        memset(path + last + 1, 0, sizeof *path * (size_t)(DEPTH - 1 - last));
        while (last >= 0 && ++path[last] == STEPS)
            path[last--] = 0;
        if (last < 0)
            return wrong;
    }
}

static void setup(void)
{
    tag = tags_digest(SPAN("t"));
    span_t uri = SPAN("h/a");
    subject = (ledger_subject_t){.uri = uri, .uri_digest = key_uri_digest(uri), .tags = &tag, .tags_n = 1};
}
TestSuite(purge, .init = setup, .timeout = 300);

Test(purge, no_order_serves_what_was_purged)
{
    unsigned long orders;
    for (int looks = 0; looks < 2; looks++) {
        cr_assert_eq(explore(RULE_NONE, looks, &orders), 0);
        cr_assert_gt(orders, ORDERS, "%lu", orders);
    }
}

Test(purge, without_any_one_rule_some_order_does)
{
    unsigned long orders;
    for (unsigned rule = RULE_CHECK_AT_COMMIT; rule <= RULE_RUN_COUNTED; rule <<= 1)
        cr_expect_gt(explore(rule, true, &orders), 0, "rule %#x", rule);
}
