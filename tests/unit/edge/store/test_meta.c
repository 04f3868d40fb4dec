/* Whatever stored_t holds comes back, and what is usual is short. */
#include <criterion/criterion.h>
#include <string.h>

#include "edge/store/meta.h"

static void there_and_back(const stored_t *m)
{
    char packed[META_MOST];
    stored_t back;
    memset(&back, 0x55, sizeof back);
    size_t n = meta_pack(m, packed);
    cr_assert_leq(n, META_MOST);
    meta_unpack(packed, &back);
    cr_assert_eq(memcmp(m, &back, sizeof back), 0);
}

Test(meta, odd_numbers)
{
    static const int64_t odd[] = {0, -1, 1, 999, 1000, 1001, -1000, INT64_MAX, INT64_MIN, INT64_MAX / 1000 * 1000};
    enum { N = sizeof odd / sizeof *odd };
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) {
            stored_t m = {.status = (int32_t)odd[i],
                          .flags = (uint32_t)odd[k],
                          .date = odd[i],
                          .request_time = odd[k],
                          .response_time = odd[(i + k) % N],
                          .initial_age = odd[k],
                          .lifetime = odd[i],
                          .stale_while_revalidate = odd[k],
                          .stale_if_error = odd[(i + 1) % N],
                          .last_modified = odd[k],
                          .content_length = odd[i]};
            m.part_first = (m.flags & STORED_PART) != 0 ? odd[(i + k) % N] : 0;
            there_and_back(&m);
        }
}

Test(meta, the_usual_is_short)
{
    msec_t now = 1795435200123;
    stored_t m = {.status = 200,
                  .flags = STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED,
                  .date = now - 123,
                  .request_time = now - 20,
                  .response_time = now,
                  .initial_age = 20,
                  .lifetime = 3600000,
                  .last_modified = now - 123 - 604800000,
                  .content_length = 1024};
    char packed[META_MOST];
    there_and_back(&m);
    cr_assert_leq(meta_pack(&m, packed), 27);
}
