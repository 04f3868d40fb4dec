/* How many retries a node may make: a share of its requests over the last seconds, and a few more, so that a quiet node
 * can retry at all. When servers fail because they are overloaded, retries would multiply what overloads them; the
 * budget bounds that for the whole node, whatever each request would like.
 *
 * Threads: any. Time is boot time in milliseconds. */
#ifndef BRINK_SHIELD_BUDGET_H
#define BRINK_SHIELD_BUDGET_H

#include <pthread.h>
#include <stdbool.h>

#include "shield/window.h"

enum { BUDGET_FLOOR = 10 * WINDOW_SECONDS }; /* retries in a window that are always allowed: ten a second */

typedef struct budget {
    pthread_mutex_t mutex;
    window_t window;
} budget_t;

void budget_init(budget_t *b);
void budget_release(budget_t *b);
void budget_request(budget_t *b, msec_t boot);                 /* a first attempt is made */
bool budget_retry(budget_t *b, uint32_t percent, msec_t boot); /* may another be made? Counted if so */

#endif
