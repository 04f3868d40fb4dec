/* A ring of buckets: a bucket is emptied when its second comes round again, so nothing runs in between. */
#include "shield/window.h"

#include <string.h>

window_counts_t *window_now(window_t *w, msec_t boot)
{
    int64_t second = boot / MSEC_PER_SEC;
    if (second - w->second >= WINDOW_SECONDS)
        window_clear(w);
    for (int64_t s = w->second + 1; s <= second && s - w->second < WINDOW_SECONDS; s++)
        w->bucket[s % WINDOW_SECONDS] = (window_counts_t){0};
    if (second > w->second) /* loops hold the time: one may be a little behind another */
        w->second = second;
    return &w->bucket[w->second % WINDOW_SECONDS];
}

window_counts_t window_sum(window_t *w, msec_t boot)
{
    window_counts_t sum = {0};
    window_now(w, boot);
    for (size_t i = 0; i < WINDOW_SECONDS; i++) {
        sum.all += w->bucket[i].all;
        sum.failed += w->bucket[i].failed;
        sum.timed += w->bucket[i].timed;
        sum.micros += w->bucket[i].micros;
    }
    return sum;
}

void window_clear(window_t *w)
{
    memset(w->bucket, 0, sizeof w->bucket);
}
