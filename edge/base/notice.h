/* Telling waiters on several event loops that something has moved on: a response's head arrived, its body grew, it
 * ended.
 *
 * A waiter belongs to one loop and is called there, once for each subscription; it subscribes again if it wants to hear
 * more. Waking is one message a loop, however many waiters it has and however often it is woken before it ran. No lock
 * is held across a callback.
 *
 * notice_wake: any thread. Subscribe and unsubscribe: the waiter's loop. The owner structure is kept alive through
 * `ref`/`unref` while a wake-up is on its way. */
#ifndef BRINK_BASE_NOTICE_H
#define BRINK_BASE_NOTICE_H

#include "edge/base/loop.h"

typedef struct notice {
    pthread_mutex_t mutex; /* guards slots and their flags */
    struct notice_slot *slots;
    void *owner;
    void (*ref)(void *owner);
    void (*unref)(void *owner);
} notice_t;

typedef struct notice_waiter {
    list_t link; /* must be initialised with notice_waiter_init */
    void (*run)(struct notice_waiter *);
} notice_waiter_t;

void notice_init(notice_t *n, void *owner, void (*ref)(void *), void (*unref)(void *));
void notice_release(notice_t *n); /* nobody may be subscribed */
void notice_waiter_init(notice_waiter_t *w, void (*run)(notice_waiter_t *));
/* To be called before the state is looked at for the last time: what changes after the call is told. */
void notice_subscribe(notice_t *n, loop_t *loop, notice_waiter_t *w);
void notice_unsubscribe(notice_waiter_t *w); /* also of one that is not subscribed */
void notice_wake(notice_t *n);

#endif
