/* The inside of the ledger, shared by ledger.c (asking, appending, the tier) and ledger_room.c (what leaves). */
#ifndef BRINK_PURGE_LEDGER_PRIV_H
#define BRINK_PURGE_LEDGER_PRIV_H

#include <pthread.h>

#include "purge/slots.h"

typedef struct prefix_length {
    uint32_t length;
    uint64_t last;
    size_t n; /* values of that length; 0: the length goes */
} prefix_length_t;

struct ledger {
    _Atomic uint64_t head;
    uint64_t epoch;
    size_t max_values;
    pthread_rwlock_t lock; /* guards all below */
    slots_t slots;
    ledger_marks_t all; /* purges of everything, and what collapsed */
    uint64_t last[LEDGER_KINDS];
    prefix_length_t lengths[LEDGER_MAX_LENGTHS];
    size_t lengths_n;
    invalidated_t invalidated;
    uint64_t compacted, floor, collapses;
    /* A collapse on its way through the parts: values up to `cut` go. 0: none. */
    uint64_t collapse_cut;
    size_t collapse_part;
    ledger_cursor_t cursor;
    /* Entries outside the stream whose values can't be looked up for a URI (tags, sites, everything, collapsed ones).
     */
    size_t outside_n;
    msec_t outside_boot;
    size_t outside_collapsed; /* of outside_n: came from values that collapsed */
    bool gap;                 /* one was found here, the latest */
    msec_t gap_boot;          /* then */
};

/* Under the lock, exclusive. *out is only raised. */
void ledger_room_make(ledger_t *l, size_t more, ledger_collapse_t *out); /* for so many values more */
prefix_length_t *ledger_room_length(ledger_t *l, uint32_t length, ledger_collapse_t *out);

#endif
