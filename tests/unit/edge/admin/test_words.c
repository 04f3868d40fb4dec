/* Several tables say the same words in the same order as labels of metrics.def, and their numbers are used as labels.
 */
#include <criterion/criterion.h>

#include "edge/fetch/upstream.h"
#include "edge/serve/serve.h"
#include "edge/store/store.h"
#include "edge/tbl/metrics_priv.h"
#include "purge/message.h"
#include "purge/purge.h"

static void expect(metric_dim_t dim, unsigned number, const char *word)
{
    cr_assert_lt(number, metric_dim_rows[dim].size);
    cr_assert_str_eq(metrics_word(dim, number), word);
}

Test(words, of_upstream_results)
{
    for (unsigned i = 0; i <= UPSTREAM_TOTAL_TIMEOUT; i++)
        expect(METRIC_DIM_UPERROR, i, upstream_word((upstream_result_t)i));
}

Test(words, of_purges)
{
    for (unsigned i = 0; i < MESSAGE_KINDS; i++)
        expect(METRIC_DIM_PURGE_KIND, i, message_kind_names[i]);
    for (unsigned i = 0; i < PURGE_SOURCES; i++)
        expect(METRIC_DIM_PURGE_SOURCE, i, purge_source_names[i]);
}

Test(words, of_connections)
{
    for (unsigned i = 0; i < SERVE_PROTOCOLS; i++)
        expect(METRIC_DIM_PROTOCOL, i, serve_protocol_name((serve_protocol_t)i));
    for (unsigned i = 0; i < SERVE_FLOODS; i++)
        expect(METRIC_DIM_FLOOD, i, serve_flood_name((serve_flood_t)i));
    for (unsigned i = 0; i < SERVE_REAPS; i++)
        expect(METRIC_DIM_REAP, i, serve_reap_name((serve_reap_t)i));
}

Test(words, of_what_leaves_the_store)
{
    cr_assert_eq((int)STORE_EVICTED, (int)LABEL_REASON_SPACE);
    cr_assert_eq((int)STORE_REPLACED, (int)LABEL_REASON_REPLACED);
    cr_assert_eq((int)STORE_REMOVED, (int)LABEL_REASON_REMOVED);
    cr_assert_eq((int)STORE_CROWDED, (int)LABEL_REASON_CROWDED);
}
