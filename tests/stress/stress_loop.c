/* Event loops and notices under many threads (for ThreadSanitizer): messages keep their order and none is lost, and a
 * waiter that looks after subscribing never sleeps through the last change. */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/loop.h"
#include "edge/base/notice.h"

enum { LOOPS = 3, SENDERS = 4, LETTERS = 20000, CHANGES = 20000, WAITERS = 4 };

typedef struct letter {
    loop_message_t message;
    struct turner *to;
    int sender, number;
} letter_t;

typedef struct watcher {
    notice_waiter_t waiter;
    struct turner *turner;
    int seen;
} watcher_t;

/* One thread that turns one loop. */
typedef struct turner {
    loop_t loop;
    int next[SENDERS];
    size_t got;
    watcher_t watchers[WAITERS];
    pthread_t thread;
} turner_t;

static turner_t turners[LOOPS];
static letter_t letters[SENDERS][LETTERS];
static notice_t notice;
static _Atomic int state, refs, failures;

static void fail(const char *what)
{
    fprintf(stderr, "stress_loop: %s\n", what);
    failures++;
}

static void ref(void *owner)
{
    (void)owner;
    refs++;
}
static void unref(void *owner)
{
    (void)owner;
    refs--;
}

static void read_letter(loop_message_t *m)
{
    letter_t *l = CONTAINER_OF(m, letter_t, message);
    if (l->number < l->to->next[l->sender])
        fail("a message came twice, or out of order");
    l->to->next[l->sender] = l->number + 1;
    l->to->got++;
}

static void look(notice_waiter_t *w)
{
    watcher_t *me = CONTAINER_OF(w, watcher_t, waiter);
    notice_subscribe(&notice, &me->turner->loop, w); /* before the last look */
    me->seen = state;
}

static bool done(const turner_t *t, size_t letters_due)
{
    for (int i = 0; i < WAITERS; i++)
        if (t->watchers[i].seen < SENDERS * CHANGES)
            return false;
    return t->got == letters_due;
}

static void *turn(void *arg)
{
    turner_t *t = arg;
    size_t due = 0;
    for (int i = 0; i < LETTERS; i++)
        due += i % LOOPS == t->loop.index ? SENDERS : 0;
    for (int i = 0; i < WAITERS; i++)
        look(&t->watchers[i].waiter);
    while (!done(t, due)) {
        struct pollfd p = {.fd = t->loop.wake_fd, .events = POLLIN};
        if (poll(&p, 1, 60000) != 1) {
            fail("nobody woke a loop that had something to wait for");
            break;
        }
        loop_run_messages(&t->loop);
    }
    for (int i = 0; i < WAITERS; i++)
        notice_unsubscribe(&t->watchers[i].waiter);
    return NULL;
}

static void *send_all(void *arg)
{
    letter_t *mine = arg;
    for (int i = 0; i < LETTERS || i < CHANGES; i++) {
        if (i < LETTERS)
            loop_post(&mine[i].to->loop, &mine[i].message);
        if (i < CHANGES) {
            state++;
            notice_wake(&notice);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t senders[SENDERS];
    notice_init(&notice, &refs, ref, unref);
    for (int t = 0; t < LOOPS; t++) {
        if (loop_init(&turners[t].loop, t, true) != 0)
            return 1;
        for (int i = 0; i < WAITERS; i++) {
            turners[t].watchers[i].turner = &turners[t];
            notice_waiter_init(&turners[t].watchers[i].waiter, look);
        }
    }
    for (int s = 0; s < SENDERS; s++)
        for (int i = 0; i < LETTERS; i++)
            letters[s][i] = (letter_t){.message.run = read_letter, .to = &turners[i % LOOPS], .sender = s, .number = i};
    for (int t = 0; t < LOOPS; t++)
        pthread_create(&turners[t].thread, NULL, turn, &turners[t]);
    for (int s = 0; s < SENDERS; s++)
        pthread_create(&senders[s], NULL, send_all, letters[s]);
    for (int s = 0; s < SENDERS; s++)
        pthread_join(senders[s], NULL);
    for (int t = 0; t < LOOPS; t++)
        pthread_join(turners[t].thread, NULL);
    for (int t = 0; t < LOOPS; t++) /* what was still on its way */
        while (loop_run_messages(&turners[t].loop) > 0)
            ;
    if (refs != 0)
        fail("a reference was kept or dropped once too often");
    if (state != SENDERS * CHANGES)
        fail("changes were lost");
    notice_release(&notice);
    for (int t = 0; t < LOOPS; t++)
        loop_release(&turners[t].loop);
    printf("%d messages, %d changes, %d failures\n", SENDERS * LETTERS, (int)state, (int)failures);
    return failures != 0;
}
