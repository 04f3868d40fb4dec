/* Accept-Encoding and entity tags of coded forms: what is chosen was offered and not refused, and a tag that is made
 * can be turned back. The first byte splits the input into both. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/http/coding.h"
#include "edge/http/weighted.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const coding_t offered[] = {CODING_BR, CODING_GZIP};
    if (size < 1)
        return 0;
    span_t all = span_of((const char *)data + 1, size - 1);
    size_t cut = data[0] < all.n ? data[0] : all.n;
    span_t accepted = span_upto(all, cut), tags = span_from(all, cut);
    if (!fields_value_valid(accepted) || !fields_value_valid(tags))
        return 0; /* no message has such */
    field_t v[] = {{SPAN("accept-encoding"), accepted}, {SPAN("if-none-match"), tags}, {SPAN("if-match"), tags}};
    fields_t f = {.v = v, .n = 3}, out;
    coding_t c = coding_choose(&f, offered, 2);
    CHECK(c == CODING_IDENTITY || c == CODING_BR || c == CODING_GZIP);
    CHECK(coding_choose(&f, offered, 0) == CODING_IDENTITY);
    if (c != CODING_IDENTITY) { /* something with a weight names it, or everything */
        span_t rest = accepted, member, name;
        unsigned weight, most = 0;
        while (weighted_next(&rest, &member))
            if (weighted_read(member, &name, &weight) && weight > most)
                most = weight;
        CHECK(most > 0);
    }
    arena_t a;
    arena_init(&a, 0);
    span_t tag = coding_tag(tags, CODING_GZIP, &a), bare;
    if (!span_eq(tag, tags) && tag.p != NULL) {
        CHECK(coding_untag(tag, &a, &bare) && span_eq(bare, tags));
    }
    if (coding_untag_fields(&f, &a, &out)) {
        CHECK(out.n == 3 && span_eq(out.v[0].value, accepted) && span_starts(out.v[1].value, tags));
        CHECK(out.v[1].value.n > tags.n && out.v[1].value.n <= 2 * tags.n);
    }
    span_t held = coding_tag_held(&f, SPAN("\"a\""), SPAN("\"b\""), &a);
    CHECK(held.n > 0);
    arena_release(&a);
    return 0;
}
