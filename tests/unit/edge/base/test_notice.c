/* Waiters on two loops that this thread turns by hand, then with threads that wake while it turns. */
#include <poll.h>

#include <criterion/criterion.h>

#include "edge/base/err.h"
#include "edge/base/notice.h"

static loop_t loops[2];
static notice_t notice;
static _Atomic int refs;

static void ref(void *owner)
{
    cr_assert_eq(owner, &refs);
    refs++;
}
static void unref(void *owner)
{
    cr_assert_eq(owner, &refs);
    refs--;
}

static void setup(void)
{
    refs = 0;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(loop_init(&loops[i], i, true), ERR_OK);
    notice_init(&notice, &refs, ref, unref);
}
static void teardown(void)
{
    cr_expect_eq(refs, 0);
    notice_release(&notice);
    for (int i = 0; i < 2; i++)
        loop_release(&loops[i]);
}
TestSuite(notice, .init = setup, .fini = teardown, .timeout = 60);

typedef struct waiter {
    notice_waiter_t waiter;
    int runs;
    struct waiter *stops; /* unsubscribes that one when it runs */
    bool again;           /* subscribes itself again */
} waiter_t;

static void ran(notice_waiter_t *w)
{
    waiter_t *me = CONTAINER_OF(w, waiter_t, waiter);
    me->runs++;
    if (me->stops != NULL)
        notice_unsubscribe(&me->stops->waiter);
    if (me->again)
        notice_subscribe(&notice, &loops[0], w);
}

static void waiter_init(waiter_t *w)
{
    *w = (waiter_t){.runs = 0};
    notice_waiter_init(&w->waiter, ran);
}

Test(notice, one_message_a_loop_and_one_run_a_subscription)
{
    waiter_t w[3];
    for (int i = 0; i < 3; i++)
        waiter_init(&w[i]);
    notice_wake(&notice); /* nobody waits */
    notice_subscribe(&notice, &loops[0], &w[0].waiter);
    notice_subscribe(&notice, &loops[0], &w[1].waiter);
    notice_subscribe(&notice, &loops[1], &w[2].waiter);
    cr_expect_eq(loop_run_messages(&loops[0]), 0);
    for (int i = 0; i < 5; i++)
        notice_wake(&notice);
    cr_expect_eq(refs, 2); /* held once for each loop while messages are on their way */
    cr_expect_eq(loop_run_messages(&loops[0]), 1);
    cr_expect(w[0].runs == 1 && w[1].runs == 1 && w[2].runs == 0);
    cr_expect_eq(refs, 1);
    cr_expect_eq(loop_run_messages(&loops[1]), 1);
    cr_expect_eq(w[2].runs, 1);
    notice_wake(&notice); /* they were told; nobody waits any more */
    cr_expect_eq(loop_run_messages(&loops[0]) + loop_run_messages(&loops[1]), 0);
}

Test(notice, unsubscribe)
{
    waiter_t w[2];
    for (int i = 0; i < 2; i++)
        waiter_init(&w[i]);
    notice_unsubscribe(&w[0].waiter); /* was not subscribed */
    notice_subscribe(&notice, &loops[0], &w[0].waiter);
    notice_subscribe(&notice, &loops[0], &w[1].waiter);
    notice_wake(&notice);
    notice_unsubscribe(&w[0].waiter); /* the message is on its way already */
    loop_run_messages(&loops[0]);
    cr_expect(w[0].runs == 0 && w[1].runs == 1);
    /* One waiter's run takes off another that was due in the same turn. */
    w[0].stops = &w[1];
    notice_subscribe(&notice, &loops[0], &w[0].waiter);
    notice_subscribe(&notice, &loops[0], &w[1].waiter);
    notice_wake(&notice);
    loop_run_messages(&loops[0]);
    cr_expect(w[0].runs == 1 && w[1].runs == 1);
}

Test(notice, who_subscribes_again_is_told_of_the_next_change)
{
    waiter_t w;
    waiter_init(&w);
    w.again = true;
    notice_subscribe(&notice, &loops[0], &w.waiter);
    for (int i = 1; i <= 3; i++) {
        notice_wake(&notice);
        cr_expect_eq(loop_run_messages(&loops[0]), 1);
        cr_expect_eq(w.runs, i);
        cr_expect_eq(loop_run_messages(&loops[0]), 0);
    }
    notice_unsubscribe(&w.waiter);
}

/* ---- no change is missed ---- */

enum { CHANGES = 50000 };
static _Atomic int state;
static int seen;

static void look(notice_waiter_t *w)
{
    notice_subscribe(&notice, &loops[0], w); /* before the last look */
    seen = state;
}

static void *change(void *arg)
{
    (void)arg;
    for (int i = 0; i < CHANGES; i++) {
        state++;
        notice_wake(&notice);
    }
    return NULL;
}

Test(notice, threads)
{
    pthread_t threads[2];
    notice_waiter_t w;
    state = 0;
    notice_waiter_init(&w, look);
    notice_subscribe(&notice, &loops[0], &w);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, change, NULL), 0);
    while (seen < 2 * CHANGES) {
        struct pollfd p = {.fd = loops[0].wake_fd, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 10000), 1, "told of %d of %d", seen, (int)state);
        loop_run_messages(&loops[0]);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    loop_run_messages(&loops[0]);
    notice_unsubscribe(&w);
}
