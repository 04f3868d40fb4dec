/* RFC 9110 5.6.7; RFC 9111 4.2 for the letter case. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <criterion/criterion.h>

#include "edge/http/date.h"

#define NOW_2026 1767225600000 /* 1 January 2026 */
#define SAMPLE 784111777000    /* the RFC's example date */

Test(date, forms)
{
    static const struct {
        const char *text;
        msec_t want;
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", SAMPLE},
        {"Sunday, 06-Nov-94 08:49:37 GMT", SAMPLE},
        {"Sun Nov  6 08:49:37 1994", SAMPLE},
        {"Sun Nov 16 08:49:37 1994", SAMPLE + 10 * 86400000ll},
        {"sun, 06 nov 1994 08:49:37 gmt", SAMPLE}, /* RFC 9111 4.2: without regard to case */
        {"SUNDAY, 06-NOV-94 08:49:37 GMT", SAMPLE},
        {"Mon, 06 Nov 1994 08:49:37 GMT", SAMPLE}, /* the day's name is not compared */
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1000},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600000},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800000},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799000},
        {"Sat, 01 Jan 0000 00:00:00 GMT", -62167219200000},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800000}, /* leap second */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        msec_t got = -1;
        cr_expect_eq(date_parse(span_str(rows[i].text), NOW_2026, &got), ERR_OK, "%s", rows[i].text);
        cr_expect_eq(got, rows[i].want, "%s: %lld", rows[i].text, (long long)got);
    }
}

Test(date, invalid)
{
    static const char *rows[] = {
        "",
        "0",
        "-1",
        "now",
        "784111777",
        "Sun",
        "Sun,",
        "Sun, ",
        "Sun, 06 Nov 1994 08:49:37",     /* no zone */
        "Sun, 06 Nov 1994 08:49:37 UTC", /* RFC 9111 4.2: another zone */
        "Sun, 06 Nov 1994 08:49:37 AEST",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ", /* callers trim */
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMTX",
        "Sun, 06 Nov 94 08:49:37 GMT", /* two digits in the form of four */
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 2023 00:00:00 GMT",
        "Tue, 29 Feb 1900 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, 06 Nob 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sund, 06-Nov-94 08:49:37 GMT",
        "Sunday 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov   6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37 94",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        msec_t got = 42;
        cr_expect_eq(date_parse(span_str(rows[i]), NOW_2026, &got), ERR_SYNTAX, "%s", rows[i]);
        cr_expect_eq(got, 42, "%s", rows[i]);
    }
}

/* More than 50 years in the future means the past: RFC 9110 5.6.7. */
Test(date, two_digit_years)
{
    static const struct {
        const char *text;
        const char *now, *want;
    } rows[] = {
        {"Sunday, 06-Nov-94 08:49:37 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"Monday, 06-Nov-30 08:49:37 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Wed, 06 Nov 2030 08:49:37 GMT"},
        {"Monday, 01-Jan-76 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Wed, 01 Jan 2076 00:00:00 GMT"},
        {"Monday, 01-Jan-76 00:00:01 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 1976 00:00:01 GMT"},
        {"Monday, 06-Nov-94 08:49:37 GMT", "Thu, 01 Jan 1998 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"Monday, 06-Nov-10 08:49:37 GMT", "Thu, 01 Jan 1998 00:00:00 GMT", "Sat, 06 Nov 2010 08:49:37 GMT"},
        {"Monday, 06-Nov-05 08:49:37 GMT", "Wed, 01 Jan 2070 00:00:00 GMT", "Fri, 06 Nov 2105 08:49:37 GMT"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        msec_t now, want, got;
        cr_assert_eq(date_parse(span_str(rows[i].now), 0, &now), ERR_OK);
        cr_assert_eq(date_parse(span_str(rows[i].want), 0, &want), ERR_OK);
        cr_assert_eq(date_parse(span_str(rows[i].text), now, &got), ERR_OK);
        cr_expect_eq(got, want, "%s", rows[i].text);
    }
}

Test(date, format)
{
    char text[DATE_LEN + 1];
    date_format(SAMPLE, text);
    cr_expect_str_eq(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    date_format(SAMPLE + 999, text);
    cr_expect_str_eq(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    date_format(-1, text);
    cr_expect_str_eq(text, "Wed, 31 Dec 1969 23:59:59 GMT");
    date_format(INT64_MAX, text);
    cr_expect_str_eq(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    date_format(INT64_MIN, text);
    cr_expect_str_eq(text, "Sat, 01 Jan 0000 00:00:00 GMT");
}

/* Against the C library, and there and back, over the years 0 … 9999. */
Test(date, round_trip)
{
    unsigned short seed[3] = {9, 1, 10};
    for (int i = 0; i < 200000; i++) {
        int64_t seconds = (int64_t)(erand48(seed) * (253402300799.0 + 62167219200.0)) - 62167219200;
        char got[DATE_LEN + 1], want[64];
        struct tm tm;
        time_t t = (time_t)seconds;
        msec_t back;
        gmtime_r(&t, &tm);
        strftime(want, sizeof want, "%a, %d %b ", &tm);
        snprintf(want + 12, sizeof want - 12, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        date_format(seconds * 1000, got);
        cr_assert_str_eq(got, want);
        cr_assert_eq(date_parse(span_of(got, DATE_LEN), 0, &back), ERR_OK);
        cr_assert_eq(back, seconds * 1000);
    }
}

/* The other two forms say the same as the first. */
Test(date, obsolete_forms_agree)
{
    static const char *days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    unsigned short seed[3] = {1, 2, 3};
    for (int i = 0; i < 20000; i++) {
        time_t t = (time_t)(NOW_2026 / 1000 + (int64_t)((erand48(seed) - 0.5) * 99 * 365.2425 * 86400));
        struct tm tm;
        char text[64];
        msec_t got;
        gmtime_r(&t, &tm);
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
        cr_assert_eq(date_parse(span_str(text), NOW_2026, &got), ERR_OK, "%s", text);
        cr_assert_eq(got, t * 1000, "%s", text);
        snprintf(text, sizeof text, "%s, ", days[tm.tm_wday]);
        strftime(text + strlen(text), 32, "%d-%b-%y %H:%M:%S GMT", &tm);
        cr_assert_eq(date_parse(span_str(text), NOW_2026, &got), ERR_OK, "%s", text);
        cr_assert_eq(got, t * 1000, "%s", text);
    }
}
