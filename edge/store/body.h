/* The bytes of a response: appended by one writer, read by any number of readers at the same time, never moved, never
 * changed.
 *
 * Who owns: counted (body_ref/body_unref, any thread). One writer thread (the loop that runs the fetch, or a warm-tier
 * thread). Readers see `length` bytes (acquire); what they read stays where it is until their reference goes, except in
 * a windowed body (body_trim), whose readers hold the window open by what they have consumed.
 *
 * A flat body is a head alone: its bytes lie somewhere behind it in an allocation that somebody else owns, and it is
 * read like any other, but not counted, appended to or trimmed. */
#ifndef BRINK_STORE_BODY_H
#define BRINK_STORE_BODY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/store/account.h"

typedef enum body_state { BODY_GROWING, BODY_COMPLETE, BODY_FAILED } body_state_t;

struct body_chunk;
typedef struct body {
    _Atomic uint64_t length; /* bytes published */
    _Atomic(account_t *)
        account; /* where body_bytes are counted until it is freed; NULL before an object of it is stored */
    union {
        atomic_int refs;
        uint32_t flat_at; /* of a flat body: where its bytes begin, from here */
    };
    _Atomic uint8_t state; /* body_state_t */
    bool flat;
} body_t;
_Static_assert(sizeof(body_t) == 24, "counted in every small object");

/* A reader's place. Zero-initialised = at the beginning. */
typedef struct body_cursor {
    struct body_chunk *chunk;
    uint64_t at; /* offset in the body */
} body_cursor_t;

enum {
    BODY_CHUNK_FIRST = 16 * 1024,
    BODY_CHUNK_MOST = 1024 * 1024,
    BODY_CHUNK_WINDOW = 64 * 1024 /* of a windowed body */
};

/* declared >= 0: one chunk of exactly that size, so that the whole body can leave in one call. */
body_t *body_new(int64_t declared);
body_t *body_ref(body_t *b);
void body_unref(body_t *b);
/* ERR_TOO_BIG beyond `declared` (nothing is appended then). `grown`, if not NULL, gets the bytes newly allocated. */
err_t body_append(body_t *b, span_t bytes, size_t *grown);
/* Bytes that the next append of n would allocate. */
size_t body_would_grow(const body_t *b, size_t n);
/* Where the next n bytes of a body of declared length go; body_grow publishes them. */
char *body_room(body_t *b, size_t n);
void body_grow(body_t *b, size_t n);
void body_end(body_t *b, body_state_t state);

static inline uint64_t body_length(const body_t *b)
{
    return atomic_load_explicit(&b->length, memory_order_acquire);
}
static inline body_state_t body_state(const body_t *b)
{
    return (body_state_t)atomic_load_explicit(&b->state, memory_order_acquire);
}
/* Up to max_v pieces and max_bytes bytes from the cursor, not beyond `end`; moves the cursor behind them. Returns the
 * pieces. */
size_t body_read(const body_t *b, body_cursor_t *c, uint64_t end, struct iovec *v, size_t max_v, size_t max_bytes);
/* Moves a cursor forward (or anywhere in a body that is not windowed). */
void body_seek(const body_t *b, body_cursor_t *c, uint64_t to);
/* Writer: it will be trimmed as it is read, so chunks are to be small from now on. */
void body_window(body_t *b);
/* Writer: frees whole chunks that end before `consumed` (strictly, so that a cursor that stands there stays valid).
 * Returns the bytes. */
size_t body_trim(body_t *b, uint64_t consumed);
/* All that a complete body takes in memory; 0 for a flat one, which its owner counts. */
size_t body_bytes(const body_t *b);
/* Whole length if that was known beforehand or is now, else -1. */
int64_t body_declared(const body_t *b);
/* Makes a head for n bytes that lie `at` bytes behind it. */
void body_init_flat(body_t *b, uint32_t at, uint64_t n);

#endif
