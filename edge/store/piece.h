/* The pieces of a response that is too large for memory. Its head is stored like any response (OBJECT_PIECES), with its
 * edition as its body; the bytes lie on disk as pieces of PIECE_BYTES, each a small response of its own under a key
 * that is made of the head's key, its variant, the edition and the piece's number. No request has such a key.
 *
 * The edition ties pieces to a head, so that bytes of two versions never meet: it is reckoned from the strong entity
 * tag and the length where there is one (then pieces outlive their head, and serve the next with the same tag: RFC 9111
 * 3.4), else it is used once.
 *
 * A piece carries the head's URI and tags and the ledger position at which the fetch of its own bytes began, so a purge
 * that covers the response covers every piece. */
#ifndef BRINK_STORE_PIECE_H
#define BRINK_STORE_PIECE_H

#include "edge/store/object.h"

enum {
    PIECE_BYTES = 256 * 1024,
    PIECE_KEY_MORE = 64 /* bytes that a piece's key is longer than its head's, at most */
};

/* Of a representation of `length` bytes with that strong validator (or a name used once), for that variant of a key. */
uint64_t piece_edition(uint64_t variant, span_t validator, uint64_t length);
/* The body of a head, complete; the caller's reference. */
body_t *piece_head_body(uint64_t edition);
/* Edition of a head (OBJECT_PIECES). */
uint64_t piece_edition_of(const object_t *head);

/* Bytes of piece `number` of a whole of `length` bytes. */
static inline uint64_t piece_size(uint64_t length, uint64_t number)
{
    uint64_t left = length - number * PIECE_BYTES;
    return left < PIECE_BYTES ? left : PIECE_BYTES;
}

/* `o` is the head, or the response that it is made of: key, variant, URI, tags and description are taken from it. Takes
 * the reference to a complete body. */
object_t *piece_new(const object_t *o, uint64_t edition, uint64_t number, uint64_t began, body_t *body);
digest_t piece_digest(const object_t *o, uint64_t edition, uint64_t number);
/* Is that the key of this piece? */
bool piece_is(span_t key, const object_t *o, uint64_t edition, uint64_t number);

#endif
