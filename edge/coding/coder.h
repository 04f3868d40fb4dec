/* Makes the coded forms of popular responses, each once, on a thread of its own: an event loop asks, and goes on.
 *
 * Ceilings: CODER_QUEUE_MOST jobs wait, more are refused (the next hit asks again); no body over CODER_BODY_MOST. What
 * is made is counted against the memory budget before it is made, and given up where there is no room. */
#ifndef BRINK_CODING_CODER_H
#define BRINK_CODING_CODER_H

#include "edge/coding/coded.h"

enum {
    CODER_QUEUE_MOST = 256,
    CODER_BODY_LEAST = 1024, /* bytes of the shortest body that coding is worth while for */
    CODER_BODY_MOST = 16 * 1024 * 1024
};

typedef struct coder coder_t;

/* NULL: the thread can't be started. Without `thread` the jobs wait for coder_work. */
coder_t *coder_open(store_t *store, bool thread);
/* Waits for the job that runs; those that wait are forgotten. NULL is fine. */
void coder_close(coder_t *c);
/* Asks for a coded form of a complete object that is stored, unless it was asked for before or coding has turned out to
 * make it no smaller. Any thread; never waits. */
void coder_ask(coder_t *c, object_t *o, coding_t coding);
/* Does all that is waiting, on the caller's thread. */
void coder_work(coder_t *c);
size_t coder_waiting(coder_t *c);

#endif
