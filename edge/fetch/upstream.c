/* The words of upstream results, from their one table. */
#include "edge/fetch/upstream.h"

static const struct {
    const char *word;
    bool untouched;
} upstream_rows[] = {
#define X(id, word, retry) {word, retry},
    UPSTREAM_RESULTS(X)
#undef X
};

const char *upstream_word(upstream_result_t r)
{
    return upstream_rows[r].word;
}

bool upstream_untouched(upstream_result_t r)
{
    return upstream_rows[r].untouched;
}

bool upstream_disconnected(upstream_result_t r)
{
    return r != UPSTREAM_OK && r != UPSTREAM_ABANDONED && r != UPSTREAM_OVERLOAD;
}

bool upstream_timed_out(upstream_result_t r)
{
    return r == UPSTREAM_CONNECT_TIMEOUT || r == UPSTREAM_FIRST_BYTE_TIMEOUT || r == UPSTREAM_IDLE_TIMEOUT ||
           r == UPSTREAM_TOTAL_TIMEOUT;
}
