/* Inbox and timers of an event loop. The inbox is a list under a mutex that is held for a few instructions and never
 * across a callback; the eventfd is written only when the list was empty. Timers are a binary heap that knows each
 * timer's place, so that stopping is O(log n) and a turn without due timers costs one comparison. */
#include "edge/base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "edge/base/err.h"
#include "edge/base/mem.h"

int loop_init(loop_t *l, int index, bool with_eventfd)
{
    *l = (loop_t){.index = index, .wake_fd = -1};
    list_init(&l->inbox);
    pthread_mutex_init(&l->mutex, NULL);
    if (with_eventfd) {
        l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (l->wake_fd < 0)
            return ERR_IO;
    }
    return ERR_OK;
}

void loop_release(loop_t *l)
{
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    pthread_mutex_destroy(&l->mutex);
    free(l->heap);
    l->heap = NULL;
}

void loop_post(loop_t *l, loop_message_t *m)
{
    pthread_mutex_lock(&l->mutex);
    bool wake = list_empty(&l->inbox);
    list_push_back(&l->inbox, &m->link);
    pthread_mutex_unlock(&l->mutex);
    if (wake && l->wake_fd >= 0) {
        uint64_t one = 1;
        while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
}

size_t loop_run_messages(loop_t *l)
{
    list_t batch;
    list_init(&batch);
    if (l->wake_fd >= 0) {
        uint64_t count;
        while (read(l->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_lock(&l->mutex);
    list_take(&batch, &l->inbox);
    pthread_mutex_unlock(&l->mutex);
    size_t n = 0;
    for (list_t *node; (node = list_pop_front(&batch)) != NULL; n++) {
        loop_message_t *m = LIST_ITEM(node, loop_message_t, link);
        m->run(m);
    }
    return n;
}

static void loop_place(loop_t *l, size_t i, loop_timer_t *t)
{
    l->heap[i] = t;
    t->at = i + 1;
}

static void loop_sift(loop_t *l, size_t i, loop_timer_t *t)
{
    while (i > 0 && l->heap[(i - 1) / 2]->due > t->due) {
        loop_place(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->timers)
            break;
        if (child + 1 < l->timers && l->heap[child + 1]->due < l->heap[child]->due)
            child++;
        if (l->heap[child]->due >= t->due)
            break;
        loop_place(l, i, l->heap[child]);
        i = child;
    }
    loop_place(l, i, t);
}

void loop_timer_stop(loop_t *l, loop_timer_t *t)
{
    if (t->at == 0)
        return;
    size_t i = t->at - 1;
    CHECK(i < l->timers && l->heap[i] == t);
    t->at = 0;
    loop_timer_t *last = l->heap[--l->timers];
    if (last != t)
        loop_sift(l, i, last);
}

void loop_timer_start(loop_t *l, loop_timer_t *t, msec_t delay)
{
    loop_timer_stop(l, t);
    t->due = l->now.boot + (delay > 0 ? delay : 0);
    if (l->timers == l->heap_cap) {
        l->heap_cap = l->heap_cap > 0 ? l->heap_cap * 2 : 64;
        l->heap = mem_realloc(l->heap, l->heap_cap * sizeof *l->heap);
    }
    l->timers++;
    loop_sift(l, l->timers - 1, t);
}

size_t loop_run_timers(loop_t *l)
{
    size_t n = 0;
    for (; l->timers > 0 && l->heap[0]->due <= l->now.boot; n++) {
        loop_timer_t *t = l->heap[0];
        loop_timer_stop(l, t);
        t->run(t);
    }
    return n;
}

msec_t loop_wait(const loop_t *l, msec_t most)
{
    if (l->timers == 0)
        return most;
    msec_t left = l->heap[0]->due - l->now.boot;
    return left < 0 ? 0 : left < most ? left : most;
}
