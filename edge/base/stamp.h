/* What a stored response carries for the purge ledger (purge/ledger.h reads and writes it; everyone else only copies
 * it). */
#ifndef BRINK_BASE_STAMP_H
#define BRINK_BASE_STAMP_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct stamp {
    uint64_t began;              /* ledger position when the fetch began; never changes */
    _Atomic uint64_t checked_to; /* no entry in (began, checked_to] is missing from `mark` */
    _Atomic uint32_t mark;       /* mark_t of edge/policy/reuse.h, written before checked_to */
    uint32_t owner;              /* for whoever embeds it: it would be padding; no function touches it */
} stamp_t;

static inline void stamp_init(stamp_t *s, uint64_t began)
{
    s->began = began;
    atomic_init(&s->checked_to, began);
    atomic_init(&s->mark, 0);
}

/* What is known of a response is also known of its copy. Marks that are set meanwhile may be missed. */
static inline void stamp_copy(stamp_t *to, const stamp_t *from)
{
    to->began = from->began;
    uint64_t checked = atomic_load_explicit(&from->checked_to, memory_order_acquire);
    atomic_init(&to->mark, atomic_load_explicit(&from->mark, memory_order_acquire));
    atomic_init(&to->checked_to, checked);
}

#endif
