/* The end of the road for a broken invariant: one line on stderr, then a core. */
#include "edge/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "brink: broken invariant: %s (%s:%d)\n", what, file, line);
    abort();
}
