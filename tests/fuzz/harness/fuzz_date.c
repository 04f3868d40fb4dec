/* Two bytes of `now` (in years), then a date: what is read is written and read again as the same. */
#include "edge/base/check.h"
#include "edge/http/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[DATE_LEN + 1];
    msec_t got, again;
    if (size < 2)
        return 0;
    msec_t now = (msec_t)(data[0] << 8 | data[1]) * 365 * 86400 * MSEC_PER_SEC;
    if (date_parse(span_of((const char *)data + 2, size - 2), now, &got) != ERR_OK)
        return 0;
    date_format(got, text);
    CHECK(got % MSEC_PER_SEC == 0);
    /* The year of two digits may lie outside what can be written. */
    CHECK(date_parse(span_of(text, DATE_LEN), now, &again) == ERR_OK);
    CHECK(again == got || got >= 253402300800000);
    return 0;
}
