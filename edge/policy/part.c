/* What a part may be used for. A Content-Range that promises more than the message holds is a known mistake of origins
 * (its last place is off by one): where the range ends with the whole, what came is taken for its end, and such a part
 * answers for itself alone; it is never put together with anything. */
#include "edge/policy/part.h"

#include "edge/base/hash.h"
#include "edge/http/conditional.h"

bool part_describe(stored_t *meta, const fields_t *response, int64_t content_length)
{
    range_t part;
    int64_t whole;
    span_t text = fields_get(response, SPAN("content-range"));
    if (meta->status != 206 || content_length <= 0 || fields_count(response, SPAN("content-range")) != 1 ||
        range_parse_content_range(text, &part, &whole) != ERR_OK || whole < 0)
        return false;
    uint64_t said = part.last - part.first + 1, got = (uint64_t)content_length;
    if (got > said || (got < said && part.last + 1 != (uint64_t)whole))
        return false;
    meta->flags |= STORED_PART | (got < said ? STORED_PART_ALONE : 0);
    meta->part_first = (int64_t)part.first;
    meta->content_length = got < said ? meta->part_first + content_length : whole;
    return true;
}

bool part_answers(const stored_t *meta, span_t etag, uint64_t held, const fields_t *request, arena_t *a,
                  range_t ranges[RANGE_MAX], size_t *n)
{
    span_t asked = fields_join(request, SPAN("range"), a);
    if (asked.p == NULL || !conditional_if_range(request, etag, meta->last_modified, meta->date) ||
        range_parse(asked, (uint64_t)meta->content_length, ranges, n) != RANGE_PARTIAL)
        return false;
    uint64_t first = (uint64_t)meta->part_first;
    for (size_t i = 0; i < *n; i++)
        if (ranges[i].first < first || ranges[i].last >= first + held)
            return false;
    return true;
}

bool part_lacks(const stored_t *meta, uint64_t held, range_t *out)
{
    uint64_t first = (uint64_t)meta->part_first, end = first + held, whole = (uint64_t)meta->content_length;
    if ((meta->flags & STORED_PART_ALONE) != 0 || held == 0 || (first > 0 && end < whole))
        return false;
    *out = first > 0 ? (range_t){0, first - 1} : (range_t){end, whole - 1};
    return first > 0 || end < whole;
}

bool part_fits(const stored_t *a, const stored_t *b)
{
    return ((a->flags | b->flags) & STORED_PART_ALONE) == 0 && a->content_length == b->content_length;
}

bool part_far(const fields_t *request, arena_t *a)
{
    range_t ranges[RANGE_MAX];
    size_t n;
    span_t asked = fields_join(request, SPAN("range"), a);
    /* of a whole without end, so that a suffix is far too */
    return asked.p != NULL && range_parse(asked, INT64_MAX, ranges, &n) == RANGE_PARTIAL && n == 1 &&
           ranges[0].first >= PART_FAR;
}

uint64_t part_variant(uint64_t variant, const stored_t *meta)
{
    return hash_64(span_of((const char *)&meta->part_first, sizeof meta->part_first), variant + 1);
}
