/* What is on disk: after a restart, after kill -9 in the middle of writing, and when the disk says no. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "node.h"
#include "purge/journal.h"

TestSuite(journal, .timeout = 120);

static mark_t ask(ledger_t *l, const char *uri, const char *tag, uint64_t began)
{
    digest_t d = tags_digest(span_str(tag));
    span_t u = span_str(uri);
    ledger_subject_t s = {.uri = u, .uri_digest = key_uri_digest(u), .tags = &d, .tags_n = tag != NULL};
    return ledger_check(l, &s, began, NULL);
}

Test(journal, a_node_alone_remembers_over_a_restart)
{
    test_node_t n;
    test_node_init(&n, "edge-1", NULL);
    test_node_start(&n, false);
    cr_assert(purge_ready(n.p) && !purge_in_doubt(n.p));
    uint64_t epoch = ledger_epoch(purge_ledger(n.p)), began = ledger_head(purge_ledger(n.p));
    test_answer_t *a = test_node_purge(&n, "{\"urls\":[\"http://H/a?b\"],\"tags\":[\"t\"],\"prefixes\":[\"h/p/"
                                           "\"],\"hosts\":[\"g\"],\"soft\":true,\"wait\":\"fleet\"}");
    cr_assert_eq(a->o.err, ERR_OK);
    cr_assert_str_eq(a->o.id, "journal:edge-1:1");
    cr_assert_eq(a->o.sequence, 1);
    cr_assert(!a->o.in_redis && a->o.nodes_n == 1);
    cr_assert_str_eq(a->o.nodes[0].name, "edge-1");
    free(a);
    free(test_node_purge(&n, "{\"tags\":[\"hard\"]}"));
    uint64_t head = ledger_head(purge_ledger(n.p));
    cr_assert_eq(head, 2);
    test_node_stop(&n);
    test_node_start(&n, true);
    cr_assert_eq(ledger_epoch(purge_ledger(n.p)), epoch);
    cr_assert_gt(ledger_head(purge_ledger(n.p)), head, "positions of another life must lie behind");
    static const char *const covered[] = {"h/a?b", "h/p/x", "g/x"};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(test_node_check(&n, covered[i], NULL, began), MARK_SOFT, "%s", covered[i]);
    cr_assert_eq(test_node_check(&n, "x/x", "t", began), MARK_SOFT);
    cr_assert_eq(test_node_check(&n, "x/x", "hard", began), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "x/x", "other", began), MARK_NONE);
    cr_assert_eq(test_node_check(&n, "x/x", "hard", ledger_head(purge_ledger(n.p))), MARK_NONE);
    cr_assert_eq(test_node_status(&n).gaps, 0);
    a = test_node_receipt(&n, "journal:edge-1:1");
    cr_assert_eq(a->o.err, ERR_OK);
    cr_assert_eq(a->o.sequence, 1);
    free(a);
    a = test_node_receipt(&n, "journal:edge-1:99");
    cr_assert_eq(a->o.err, ERR_NOT_FOUND);
    free(a);
    a = test_node_purge(&n, "{\"everything\":true}");
    cr_assert_str_eq(a->o.id, "journal:edge-1:3", "%s: numbers must not be given twice", a->o.id);
    free(a);
    head = ledger_head(purge_ledger(n.p));
    test_node_stop(&n);
    test_node_start(&n, true);
    cr_assert_eq(test_node_check(&n, "x/x", NULL, head - 1), MARK_HARD, "the purge of everything was forgotten");
    cr_assert_eq(test_node_check(&n, "x/x", NULL, head), MARK_NONE);
    test_node_drop(&n);
}

Test(journal, a_directory_belongs_to_one_process)
{
    test_node_t n, m;
    char err[256];
    test_node_init(&n, "edge-1", NULL);
    test_node_start(&n, false);
    m = n;
    m.p = NULL;
    cr_assert_eq(purge_open(&m.o, &m.p, err, sizeof err), ERR_EXISTS);
    cr_assert(strstr(err, "in use by another process") != NULL, "%s", err);
    test_node_drop(&n);
}

Test(journal, errors_are_sentences)
{
    char err[512], path[128];
    journal_t *j;
    ledger_t *l;
    test_node_t n;
    test_node_init(&n, "edge-1", NULL);
    cr_assert_eq(journal_open("/proc/nothing", 0, &j, &l, err, sizeof err), ERR_IO);
    cr_assert(strstr(err, "/proc/nothing") != NULL && strstr(err, "state") != NULL, "%s", err);
    snprintf(path, sizeof path, "%s/purge.mdb", n.dir);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 4096; i++)
        fputs("not a database ", f);
    fclose(f);
    cr_assert_eq(journal_open(n.dir, 0, &j, &l, err, sizeof err), ERR_IO);
    cr_assert(strstr(err, path) != NULL, "%s", err);
    test_node_drop(&n);
}

typedef struct shared {
    _Atomic uint64_t written; /* purges that were reported as durable: t0 … t(written-1) */
} shared_t;

static void count_written(void *ctx, err_t e)
{
    shared_t *s = ctx;
    if (e == ERR_OK)
        atomic_fetch_add(&s->written, 1);
}

/* Appends for ever: effect and cursor together, the cursor's ms counting the purges. */
static void write_until_killed(const char *dir, shared_t *s, uint64_t from)
{
    char err[256], name[32];
    journal_t *j;
    ledger_t *l;
    if (journal_open(dir, 0, &j, &l, err, sizeof err) != ERR_OK || journal_start(j) != ERR_OK)
        _exit(1);
    for (uint64_t i = from;; i++) {
        snprintf(name, sizeof name, "t%lu", (unsigned long)i);
        ledger_value_t v = {.kind = LEDGER_TAG, .digest = tags_digest(span_str(name))};
        journal_cursor_t c = {.at = {.ms = i + 1, .run_id = "r"}, .entries_added = i + 1};
        journal_item_t item = {.values = &v, .n = 1, .level = MARK_HARD, .cursor = &c, .done = count_written, .ctx = s};
        item.position = ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1}, &item.collapse);
        journal_post(j, &item);
        while (journal_backlog(j) > 20000)
            usleep(100);
    }
}

Test(journal, kill_9_loses_nothing_that_was_reported)
{
    enum { KILLS = 12 };
    test_node_t n;
    char err[256], name[32];
    shared_t *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    test_node_init(&n, "edge-1", NULL);
    uint64_t from = 0, head = 0;
    for (int k = 0; k < KILLS; k++) {
        atomic_store(&s->written, from);
        pid_t pid = fork();
        if (pid == 0)
            write_until_killed(n.dir, s, from);
        while (atomic_load(&s->written) == from)
            usleep(1000);
        usleep(1000 * (unsigned)(5 + k * 3));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        journal_t *j;
        ledger_t *l;
        journal_cursor_t c;
        cr_assert_eq(journal_open(n.dir, 0, &j, &l, err, sizeof err), ERR_OK, "%s", err);
        cr_assert(journal_has_cursor(j, &c));
        cr_assert_geq(c.at.ms, atomic_load(&s->written));
        cr_assert_eq(c.entries_added, c.at.ms);
        cr_assert_gt(ledger_head(l), head);
        head = ledger_head(l);
        for (uint64_t i = 0; i < c.at.ms + 5; i++) {
            snprintf(name, sizeof name, "t%lu", (unsigned long)i);
            /* the cursor never runs ahead of its effect, nor the effect ahead of its cursor */
            cr_assert_eq(ask(l, "h/a", name, 0), i < c.at.ms ? MARK_HARD : MARK_NONE, "kill %d: t%lu of %lu", k,
                         (unsigned long)i, (unsigned long)c.at.ms);
        }
        from = c.at.ms;
        journal_close(j);
        ledger_free(l);
    }
    munmap(s, sizeof *s);
    test_node_drop(&n);
}

Test(journal, collapse_and_compaction_are_on_disk)
{
    test_node_t n;
    char err[256], body[64];
    test_node_init(&n, "edge-1", NULL);
    n.o.max_values = 64;
    test_node_start(&n, false);
    for (int i = 0; i < 300; i++) {
        snprintf(body, sizeof body, "{\"tags\":[\"t%d\"]}", i);
        free(test_node_purge(&n, body));
    }
    uint64_t floor = test_node_status(&n).ledger.floor;
    cr_assert_gt(floor, 0);
    test_node_stop(&n);
    test_node_start(&n, false);
    cr_assert_leq(test_node_status(&n).ledger.values, 64);
    for (int i = 0; i < 300; i++) {
        snprintf(body, sizeof body, "t%d", i);
        cr_assert_eq(test_node_check(&n, "h/a", body, (uint64_t)i), MARK_HARD, "%s", body);
    }
    cr_assert_eq(test_node_check(&n, "h/a", "untouched", floor), MARK_NONE);
    uint64_t head = ledger_head(purge_ledger(n.p));
    purge_compact(n.p, head);
    test_node_stop(&n);
    journal_t *j;
    ledger_t *l;
    cr_assert_eq(journal_open(n.dir, 0, &j, &l, err, sizeof err), ERR_OK);
    ledger_stats_t st;
    ledger_stats(l, &st);
    cr_assert_eq(st.values, 0);
    cr_assert_eq(st.compacted, head);
    journal_close(j);
    ledger_free(l);
    test_node_drop(&n);
}

static bool count_record(void *ctx, const journal_record_t *r)
{
    (void)r;
    ++*(int *)ctx;
    return true;
}

Test(journal, what_was_posted_can_be_waited_for)
{
    enum { ROUNDS = 50 };
    test_node_t n;
    char err[256];
    journal_t *j;
    ledger_t *l;
    test_node_init(&n, "edge-1", NULL);
    cr_assert_eq(journal_open(n.dir, 0, &j, &l, err, sizeof err), ERR_OK);
    journal_record_t r = {.number = 1, .json = SPAN("{}")};
    journal_post(j, &(journal_item_t){.record = &r});
    cr_assert_not(journal_settle(j, 50), "nobody writes yet");
    cr_assert_eq(journal_start(j), ERR_OK);
    for (int i = 1; i <= ROUNDS; i++) {
        int count = 0;
        cr_assert(journal_settle(j, 20 * MSEC_PER_SEC));
        cr_assert_eq(journal_records(j, count_record, &count), ERR_OK);
        cr_assert_eq(count, i);
        r.number++;
        journal_post(j, &(journal_item_t){.record = &r});
    }
    journal_stop(j);
    journal_close(j);
    ledger_free(l);
    test_node_drop(&n);
}

Test(journal, a_full_disk_is_said_and_nothing_is_forgotten)
{
    test_node_t n;
    struct stat st;
    char path[128];
    test_node_init(&n, "edge-1", NULL);
    test_node_start(&n, false);
    free(test_node_purge(&n, "{\"tags\":[\"before\"]}"));
    snprintf(path, sizeof path, "%s/purge.mdb", n.dir);
    cr_assert_eq(stat(path, &st), 0);
    /* the file may not grow: what RLIMIT_FSIZE does to a write, a full disk does, too */
    struct rlimit was, none;
    getrlimit(RLIMIT_FSIZE, &was);
    none = was;
    none.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none);
    test_answer_t *a = test_node_purge(&n, "{\"tags\":[\"during\"]}");
    setrlimit(RLIMIT_FSIZE, &was);
    cr_assert_eq(a->o.err, ERR_IO);
    free(a);
    cr_assert_eq(test_node_check(&n, "h/a", "during", 0), MARK_HARD);
    a = test_node_purge(&n, "{\"tags\":[\"after\"]}");
    cr_assert_eq(a->o.err, ERR_OK);
    free(a);
    cr_assert_geq(test_node_status(&n).journal_errors, 1);
    test_node_stop(&n);
    test_node_start(&n, false);
    cr_assert_eq(test_node_check(&n, "h/a", "before", 0), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "h/a", "during", 0), MARK_HARD);
    cr_assert_eq(test_node_check(&n, "h/a", "after", 0), MARK_HARD);
    test_node_drop(&n);
}
