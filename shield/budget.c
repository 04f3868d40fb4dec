/* Finagle's and Envoy's retry budgets work alike; theirs count concurrent requests or deposit tokens that decay. A
 * window counts plainly, and what it allows can be read off. */
#include "shield/budget.h"

void budget_init(budget_t *b)
{
    b->window = (window_t){0};
    pthread_mutex_init(&b->mutex, NULL);
}

void budget_release(budget_t *b)
{
    pthread_mutex_destroy(&b->mutex);
}

void budget_request(budget_t *b, msec_t boot)
{
    pthread_mutex_lock(&b->mutex);
    window_now(&b->window, boot)->all++;
    pthread_mutex_unlock(&b->mutex);
}

bool budget_retry(budget_t *b, uint32_t percent, msec_t boot)
{
    pthread_mutex_lock(&b->mutex);
    window_counts_t sum = window_sum(&b->window, boot);
    bool allowed = sum.failed < BUDGET_FLOOR + (uint64_t)sum.all * percent / 100;
    if (allowed)
        window_now(&b->window, boot)->failed++;
    pthread_mutex_unlock(&b->mutex);
    return allowed;
}
