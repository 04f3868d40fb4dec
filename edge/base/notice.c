/* One slot for each loop that ever subscribed. The list of waiters in a slot is touched only by the slot's loop;
 * `armed` and `posted` are what other threads see of it, under the mutex. The slot's message holds a reference to the
 * owner while it is on its way. */
#include "edge/base/notice.h"

#include <stdlib.h>

#include "edge/base/mem.h"

typedef struct notice_slot {
    struct notice_slot *next;
    notice_t *notice;
    loop_t *loop;
    list_t waiters; /* the loop's thread only */
    loop_message_t message;
    bool armed;  /* somebody waits */
    bool posted; /* the message is on its way */
} notice_slot_t;

static void notice_deliver(loop_message_t *m)
{
    notice_slot_t *s = CONTAINER_OF(m, notice_slot_t, message);
    notice_t *n = s->notice;
    list_t batch;
    list_init(&batch);
    pthread_mutex_lock(&n->mutex);
    s->posted = s->armed = false;
    pthread_mutex_unlock(&n->mutex);
    list_take(&batch, &s->waiters);
    for (list_t *node; (node = list_pop_front(&batch)) != NULL;) {
        notice_waiter_t *w = LIST_ITEM(node, notice_waiter_t, link);
        w->run(w);
    }
    n->unref(n->owner);
}

void notice_init(notice_t *n, void *owner, void (*ref)(void *), void (*unref)(void *))
{
    *n = (notice_t){.owner = owner, .ref = ref, .unref = unref};
    pthread_mutex_init(&n->mutex, NULL);
}

void notice_release(notice_t *n)
{
    while (n->slots != NULL) {
        notice_slot_t *s = n->slots;
        n->slots = s->next;
        CHECK(!s->posted && list_empty(&s->waiters));
        free(s);
    }
    pthread_mutex_destroy(&n->mutex);
}

void notice_waiter_init(notice_waiter_t *w, void (*run)(notice_waiter_t *))
{
    list_init(&w->link);
    w->run = run;
}

void notice_subscribe(notice_t *n, loop_t *loop, notice_waiter_t *w)
{
    pthread_mutex_lock(&n->mutex);
    notice_slot_t *s = n->slots;
    while (s != NULL && s->loop != loop)
        s = s->next;
    if (s == NULL) {
        s = mem_zalloc(sizeof *s);
        s->notice = n;
        s->loop = loop;
        s->message.run = notice_deliver;
        list_init(&s->waiters);
        s->next = n->slots;
        n->slots = s;
    }
    s->armed = true;
    pthread_mutex_unlock(&n->mutex);
    list_remove(&w->link);
    list_push_back(&s->waiters, &w->link);
}

void notice_unsubscribe(notice_waiter_t *w)
{
    list_remove(&w->link);
}

void notice_wake(notice_t *n)
{
    pthread_mutex_lock(&n->mutex);
    for (notice_slot_t *s = n->slots; s != NULL; s = s->next) {
        if (!s->armed || s->posted)
            continue;
        s->posted = true;
        n->ref(n->owner);
        loop_post(s->loop, &s->message); /* takes only the loop's inbox lock, runs nothing */
    }
    pthread_mutex_unlock(&n->mutex);
}
