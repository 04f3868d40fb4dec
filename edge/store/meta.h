/* stored_t in a few bytes: times as differences, numbers as long as they need to be. Usually 20 to 25 bytes instead of
 * 88, for each response in memory. Pure. */
#ifndef BRINK_STORE_META_H
#define BRINK_STORE_META_H

#include <stddef.h>

#include "edge/policy/stored.h"

enum { META_MOST = 120 };

size_t meta_pack(const stored_t *m, char out[META_MOST]);
void meta_unpack(const char *packed, stored_t *out);

#endif
