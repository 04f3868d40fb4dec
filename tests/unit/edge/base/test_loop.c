/* Timers against a model that searches an array; messages in their order, from this thread and from others. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "edge/base/err.h"
#include "edge/base/loop.h"

/* ---- timers ---- */

enum { TIMERS = 200 };

typedef struct clockwork {
    loop_timer_t timer;
    msec_t due; /* what the model says; -1 when not set */
    int runs;
} clockwork_t;

static loop_t loop;
static clockwork_t works[TIMERS];
static msec_t last_due;
static bool restart;

static void tick(loop_timer_t *t)
{
    clockwork_t *w = CONTAINER_OF(t, clockwork_t, timer);
    cr_assert_leq(w->due, loop.now.boot);
    cr_assert_geq(w->due, last_due); /* in the order they were due */
    last_due = w->due;
    w->due = -1;
    w->runs++;
    if (restart) { /* a timer may set itself again */
        loop_timer_start(&loop, t, 50);
        w->due = loop.now.boot + 50;
    }
}

static void expect_heap(void)
{
    msec_t first = -1;
    size_t set = 0;
    for (int i = 0; i < TIMERS; i++) {
        if (works[i].due < 0) {
            cr_assert_eq(works[i].timer.at, 0);
            continue;
        }
        set++;
        cr_assert_eq(loop.heap[works[i].timer.at - 1], &works[i].timer);
        cr_assert_eq(works[i].timer.due, works[i].due);
        if (first < 0 || works[i].due < first)
            first = works[i].due;
    }
    cr_assert_eq(loop.timers, set);
    msec_t left = first < 0 ? 1000 : first - loop.now.boot;
    cr_assert_eq(loop_wait(&loop, 1000), left < 0 ? 0 : left > 1000 ? 1000 : left);
}

Test(loop, timers_against_a_model)
{
    unsigned short seed[3] = {7, 7, 7};
    cr_assert_eq(loop_init(&loop, 0, false), ERR_OK);
    loop.now.boot = 1000;
    for (int i = 0; i < TIMERS; i++)
        works[i] = (clockwork_t){.timer.run = tick, .due = -1};
    for (int step = 0; step < 30000; step++) {
        clockwork_t *w = &works[(size_t)(erand48(seed) * TIMERS)];
        double what = erand48(seed);
        if (what < 0.6) {
            msec_t delay = (msec_t)(erand48(seed) * 2000) - 20; /* a negative one is due at once */
            loop_timer_start(&loop, &w->timer, delay);
            w->due = loop.now.boot + (delay > 0 ? delay : 0);
        } else if (what < 0.9) {
            loop_timer_stop(&loop, &w->timer);
            w->due = -1;
        } else {
            loop.now.boot += (msec_t)(erand48(seed) * 60);
            size_t want = 0;
            for (int i = 0; i < TIMERS; i++)
                want += works[i].due >= 0 && works[i].due <= loop.now.boot;
            last_due = -1;
            restart = erand48(seed) < 0.3;
            cr_assert_eq(loop_run_timers(&loop), want);
        }
        if (step % 10 == 0)
            expect_heap();
    }
    loop_release(&loop);
}

static clockwork_t *victim;

static void tick_and_stop_other(loop_timer_t *t)
{
    tick(t);
    loop_timer_stop(&loop, &victim->timer);
    victim->due = -1;
}

/* What a timer stops doesn't run, though it was due in the same turn. */
Test(loop, a_due_timer_can_be_stopped_by_another)
{
    cr_assert_eq(loop_init(&loop, 0, false), ERR_OK);
    works[0] = (clockwork_t){.timer.run = tick_and_stop_other, .due = 10};
    works[1] = (clockwork_t){.timer.run = tick, .due = 20};
    victim = &works[1];
    loop_timer_start(&loop, &works[0].timer, 10);
    loop_timer_start(&loop, &works[1].timer, 20);
    loop.now.boot = 30;
    cr_expect_eq(loop_run_timers(&loop), 1);
    cr_expect_eq(works[1].runs, 0);
    cr_expect_eq(loop.timers, 0);
    loop_release(&loop);
}

/* ---- messages ---- */

typedef struct letter {
    loop_message_t message;
    int sender, number;
} letter_t;

enum { SENDERS = 4, LETTERS = 5000 };
static int next_number[SENDERS];
static letter_t again;

static void read_letter(loop_message_t *m)
{
    letter_t *l = CONTAINER_OF(m, letter_t, message);
    cr_assert_eq(l->number, next_number[l->sender]++);
}

static void read_and_post(loop_message_t *m)
{
    letter_t *l = CONTAINER_OF(m, letter_t, message);
    if (++l->number < 3)
        loop_post(&loop, m); /* may be posted again once it runs */
}

Test(loop, what_messages_post_runs_at_the_next_call)
{
    cr_assert_eq(loop_init(&loop, 0, false), ERR_OK);
    again = (letter_t){.message.run = read_and_post};
    cr_expect_eq(loop_run_messages(&loop), 0);
    loop_post(&loop, &again.message);
    for (int i = 1; i <= 3; i++) {
        cr_expect_eq(loop_run_messages(&loop), 1);
        cr_expect_eq(again.number, i);
    }
    cr_expect_eq(loop_run_messages(&loop), 0);
    loop_release(&loop);
}

static void free_letter(loop_message_t *m)
{
    free(CONTAINER_OF(m, letter_t, message));
}

Test(loop, a_message_may_free_itself)
{
    cr_assert_eq(loop_init(&loop, 0, false), ERR_OK);
    for (int i = 0; i < 3; i++) {
        letter_t *l = calloc(1, sizeof *l);
        l->message.run = free_letter;
        loop_post(&loop, &l->message);
    }
    cr_expect_eq(loop_run_messages(&loop), 3);
    loop_release(&loop);
}

static void *send_letters(void *arg)
{
    letter_t *letters = arg;
    for (int i = 0; i < LETTERS; i++)
        loop_post(&loop, &letters[i].message);
    return NULL;
}

/* Every message of every thread arrives once, in its thread's order, and each sleep on the descriptor ends. */
Test(loop, messages_from_threads)
{
    pthread_t threads[SENDERS];
    static letter_t letters[SENDERS][LETTERS];
    size_t got = 0;
    cr_assert_eq(loop_init(&loop, 0, true), ERR_OK);
    memset(next_number, 0, sizeof next_number);
    for (int s = 0; s < SENDERS; s++) {
        for (int i = 0; i < LETTERS; i++)
            letters[s][i] = (letter_t){.message.run = read_letter, .sender = s, .number = i};
        cr_assert_eq(pthread_create(&threads[s], NULL, send_letters, letters[s]), 0);
    }
    while (got < SENDERS * LETTERS) {
        struct pollfd p = {.fd = loop.wake_fd, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 10000), 1, "woken by nobody after %zu", got);
        got += loop_run_messages(&loop);
    }
    for (int s = 0; s < SENDERS; s++) {
        pthread_join(threads[s], NULL);
        cr_expect_eq(next_number[s], LETTERS);
    }
    struct pollfd p = {.fd = loop.wake_fd, .events = POLLIN};
    loop_run_messages(&loop);
    cr_expect_eq(poll(&p, 1, 0), 0);
    loop_release(&loop);
}
