/* Request ids: their shape, no repetition, and which foreign ones are kept. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#include "edge/admin/requestid.h"

enum { IDS = 20000, MAKERS = 4 };

static char ids[MAKERS * IDS][REQUESTID_BYTES + 1];

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void *make(void *arg)
{
    char(*mine)[REQUESTID_BYTES + 1] = arg;
    for (int i = 0; i < IDS; i++)
        requestid_make(mine[i]);
    return NULL;
}

Test(requestid, is_32_hex_digits)
{
    char id[REQUESTID_BYTES + 1];
    memset(id, 'x', sizeof id);
    requestid_make(id);
    cr_assert_eq(strlen(id), REQUESTID_BYTES);
    cr_assert_eq(strspn(id, "0123456789abcdef"), REQUESTID_BYTES);
    cr_assert(requestid_valid(span_str(id)));
}

Test(requestid, never_repeats_over_threads)
{
    pthread_t t[MAKERS];
    for (int i = 0; i < MAKERS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, make, ids[(size_t)i * IDS]), 0);
    for (int i = 0; i < MAKERS; i++)
        pthread_join(t[i], NULL);
    /* neighbours don't look alike: the lower half differs in many digits */
    int same = 0;
    for (int i = 16; i < 32; i++)
        same += ids[0][i] == ids[1][i];
    cr_assert_lt(same, 12);
    qsort(ids, MAKERS * IDS, sizeof ids[0], by_text);
    for (int i = 1; i < MAKERS * IDS; i++)
        cr_assert_str_neq(ids[i - 1], ids[i]);
}

Test(requestid, foreign_ids)
{
    static const char *const good[] = {"a", "1-67891233-abcdef012345678912345678",
                                       "Root=1-5759e988-bd862e3fe1be46a994272793", "a/b+c=", "7f3.1:2_x@y"};
    static const char *const bad[] = {"", "a b", "a\"b", "a\nb", "a{b}", "\xc3\xa9", "a\\b", "a,b", "<a>"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert(requestid_valid(span_str(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(requestid_valid(span_str(bad[i])), "%s", bad[i]);
    cr_assert_not(requestid_valid(span_of("a\0b", 3)));
    char most[REQUESTID_MOST + 1];
    memset(most, 'a', sizeof most);
    cr_assert(requestid_valid(span_of(most, REQUESTID_MOST)));
    cr_assert_not(requestid_valid(span_of(most, REQUESTID_MOST + 1)));
}
