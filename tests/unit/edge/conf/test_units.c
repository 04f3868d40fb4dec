#include <criterion/criterion.h>

#include "edge/conf/units.h"

static int64_t size_of(const char *s)
{
    int64_t v = -7;
    err_t e = units_size(span_str(s), &v);
    return e == ERR_OK ? v : e;
}

static int64_t duration_of(const char *s)
{
    msec_t v = -7;
    err_t e = units_duration(span_str(s), &v);
    return e == ERR_OK ? v : e;
}

Test(units, sizes)
{
    cr_assert_eq(size_of("0"), 0);
    cr_assert_eq(size_of("123"), 123);
    cr_assert_eq(size_of("64KiB"), 65536);
    cr_assert_eq(size_of("256MiB"), 268435456);
    cr_assert_eq(size_of("20GiB"), 20LL << 30);
    cr_assert_eq(size_of("1TiB"), 1LL << 40);
}

Test(units, what_is_no_size)
{
    const char *bad[] = {"",       "KiB", "64KB", "64kib", "64 KiB", "-1", "+1",
                         "1.5GiB", "64M", "0x10", "1KiBs", " 1",     "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(size_of(bad[i]), ERR_SYNTAX, "%s", bad[i]);
    cr_assert_eq(size_of("9223372036854775807"), INT64_MAX);
    cr_assert_eq(size_of("9223372036854775808"), ERR_RANGE);
    cr_assert_eq(size_of("99999999999999999999999999999999"), ERR_RANGE);
    cr_assert_eq(size_of("9000000000TiB"), ERR_RANGE);
}

Test(units, durations)
{
    cr_assert_eq(duration_of("250ms"), 250);
    cr_assert_eq(duration_of("30s"), 30000);
    cr_assert_eq(duration_of("5m"), 300000);
    cr_assert_eq(duration_of("1h"), 3600000);
    cr_assert_eq(duration_of("7d"), 604800000);
    cr_assert_eq(duration_of("0s"), 0);
    const char *bad[] = {"", "30", "s", "1w", "1.5s", "1h30m", "-1s", "1 s", "1S"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(duration_of(bad[i]), ERR_SYNTAX, "%s", bad[i]);
    cr_assert_eq(duration_of("999999999999999999d"), ERR_RANGE);
}

Test(units, are_written_as_they_are_read)
{
    char buf[32];
    const char *sizes[] = {"0", "1", "1023", "1KiB", "1025", "64MiB", "3GiB", "2TiB"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        cr_assert_str_eq(units_write_size(size_of(sizes[i]), buf), sizes[i]);
    const char *durations[] = {"0s", "1ms", "1500ms", "2s", "90s", "5m", "36h", "7d"};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++)
        cr_assert_str_eq(units_write_duration(duration_of(durations[i]), buf), durations[i]);
}
