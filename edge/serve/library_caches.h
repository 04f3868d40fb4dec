/* The library keeps freed memory in caches of each thread and never gives it back, not even when the thread ends. */
#ifndef BRINK_SERVE_LIBRARY_CACHES_H
#define BRINK_SERVE_LIBRARY_CACHES_H

#include <h2o.h>

/* The prototype of HTTP/2 write buffers is hidden in the library; any fresh buffer leads to it. On the thread that owns
 * it. */
void library_caches_learn(h2o_buffer_t *fresh);
/* Frees this thread's caches. Nothing of the library may be in use on the thread any more. */
void library_caches_release(void);

#endif
