/* A decision told rule by rule: the rules in the order in which they were asked, up to the one that decided. The
 * functions that decide fill it in themselves as they go, where somebody wants to know; a NULL in its place costs
 * nothing. Pure. */
#ifndef BRINK_POLICY_WHY_H
#define BRINK_POLICY_WHY_H

#include <stdbool.h>
#include <stddef.h>

#include "edge/base/check.h"

enum { WHY_MOST = 80 }; /* rules that one request can come by */

/* All texts are static. */
typedef struct why_rule {
    const char *word;    /* what it is called in Cache-Status */
    const char *section; /* where it stands: "RFC 9111 5.2.2.4", "site rule" … */
    const char *says;    /* what must be so for it to hold, as a sentence */
    const char *then;    /* what follows; NULL: it doesn't hold */
} why_rule_t;

typedef struct why {
    why_rule_t rule[WHY_MOST];
    size_t n;
} why_t;

static inline bool why_ask(why_t *why, bool holds, const char *word, const char *section, const char *says,
                           const char *then)
{
    if (why != NULL) {
        CHECK(why->n < WHY_MOST);
        why->rule[why->n++] = (why_rule_t){word, section, says, holds ? then : NULL};
    }
    return holds;
}

#endif
