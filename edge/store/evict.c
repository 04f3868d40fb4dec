/* The list of policies, for configuration and benchmarks. */
#include "edge/store/evict.h"

#include <string.h>

static const evict_policy_t *const all[] = {&evict_hindsight, &evict_s3fifo, &evict_wtinylfu,
                                            &evict_gdsf,      &evict_sieve,  &evict_lru};

const evict_policy_t *evict_at(unsigned number)
{
    return number < sizeof all / sizeof *all ? all[number] : NULL;
}

const evict_policy_t *evict_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}
