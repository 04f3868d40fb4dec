/* From root, who may bind and read keys, to a user who may do neither. Main thread only, before other threads do
 * anything that needs a file. */
#ifndef BRINK_PRIVILEGE_H
#define BRINK_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/base/err.h"
#include "edge/base/span.h"

/* Becomes `user` with its groups, for good: ERR_OK also when that is who runs. `folders` (n of them; those that are
 * absent are .p NULL) are made if missing and given to the user if they were made. On failure (no such user, not root)
 * `err` says why; the process must end then. */
err_t privilege_drop(span_t user, const span_t *folders, size_t n, char *err, size_t err_size);
/* Is there such a user? On failure `err` says how to make it. */
err_t privilege_known(span_t user, char *err, size_t err_size);
/* Neither core dumps nor debuggers of the same user (prctl(2) PR_SET_DUMPABLE); `allow` undoes it, for leak checkers at
 * exit. */
void privilege_dumps(bool allow);
/* As many descriptors as the hard limit allows. Returns how many that are. */
size_t privilege_descriptors(void);

#endif
