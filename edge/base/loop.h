/* What code that runs on an event loop may ask of it: post a message from any thread, and set timers. Implemented by
 * edge/worker.c for real and by a fake clock in the tests, so everything above it can be simulated without sleeping.
 *
 * Ownership: messages and timers are embedded in the caller's structures and stay the caller's.
 * Threads: loop_post may be called from any thread; all else only on the loop's own thread. */
#ifndef BRINK_BASE_LOOP_H
#define BRINK_BASE_LOOP_H

#include <pthread.h>
#include <stddef.h>

#include "edge/base/list.h"
#include "edge/base/time.h"

typedef struct loop_message {
    list_t link;
    void (*run)(
        struct loop_message *); /* called once a post, on the loop's thread; may free or post again the message */
} loop_message_t;

typedef struct loop_timer {
    size_t at;  /* place in the heap + 1; 0 = not set */
    msec_t due; /* boot time */
    void (*run)(struct loop_timer *);
} loop_timer_t;

typedef struct loop {
    int index;             /* 0 … number of loops - 1 */
    now_t now;             /* read once a turn */
    int wake_fd;           /* eventfd, readable when messages wait; -1 in simulations */
    pthread_mutex_t mutex; /* guards `inbox` only */
    list_t inbox;
    loop_timer_t **heap;
    size_t timers, heap_cap;
} loop_t;

int loop_init(loop_t *l, int index, bool with_eventfd); /* 0 or ERR_IO */
void loop_release(loop_t *l);
/* A message must not be posted again before it ran. Order of posts from one thread is kept. */
void loop_post(loop_t *l, loop_message_t *m);
/* Runs what was posted so far; returns how many. What they post runs at the next call. */
size_t loop_run_messages(loop_t *l);
/* Sets or moves a timer: it runs once, not before `l->now.boot + delay`. */
void loop_timer_start(loop_t *l, loop_timer_t *t, msec_t delay);
void loop_timer_stop(loop_t *l, loop_timer_t *t); /* also of one that is not set */
/* Runs the timers that are due at l->now; returns how many. */
size_t loop_run_timers(loop_t *l);
/* Milliseconds until the next timer, 0 if one is due, `most` if there is none sooner. */
msec_t loop_wait(const loop_t *l, msec_t most);

#endif
