/* Parts of representations as stored responses (RFC 9111 3.3, 3.4; RFC 9110 14.4, 15.3.7): a 206 to a request for one
 * range, or what arrived of a response that was cut. A stored part is meta.part_first and the bytes of its body; its
 * meta.content_length is the length of the whole, which is known. Pure. */
#ifndef BRINK_POLICY_PART_H
#define BRINK_POLICY_PART_H

#include "edge/http/range.h"
#include "edge/policy/stored.h"

enum {
    PART_FAR = 1024 * 1024, /* a range that begins later is asked for alone; an earlier one comes with the whole */
    PART_MAX_APART = 8      /* parts of one representation that don't touch each other; the oldest goes */
};

/* Makes a part of a described 206 whose Content-Range is one known range. False: it is none that can be kept.
 * `content_length` is that of the message, which must be known. */
bool part_describe(stored_t *meta, const fields_t *response, int64_t content_length);
/* Are all the ranges that a request asks for within a part of `held` bytes? They are counted within the whole. */
bool part_answers(const stored_t *meta, span_t etag, uint64_t held, const fields_t *request, arena_t *a,
                  range_t ranges[RANGE_MAX], size_t *n);
/* The one range that a part of `held` bytes lacks; false: there are two, or it must stay alone. */
bool part_lacks(const stored_t *meta, uint64_t held, range_t *out);
/* Do both count within a whole of the same length, and may they be put together once their validators agree? */
bool part_fits(const stored_t *a, const stored_t *b);
/* A request for one range that is so far from the beginning that it shouldn't wait for what lies before. */
bool part_far(const fields_t *request, arena_t *a);
/* Parts of one variant are told apart by where they begin. */
uint64_t part_variant(uint64_t variant, const stored_t *meta);

#endif
