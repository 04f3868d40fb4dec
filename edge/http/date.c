/* Calendar arithmetic is done here, on the proleptic Gregorian calendar in UTC, because the C library's looks at locale
 * and time zone. Days are counted in eras of 400 years that begin on 1 March, so that the leap day is a year's last. */
#include "edge/http/date.h"

#include "edge/http/chars.h"

enum { DAY_SECONDS = 86400, ERA_DAYS = 146097, EPOCH_DAYS = 719468, WINDOW_YEARS = 50 };

static const char days[7][10] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

typedef struct civil {
    int64_t year;
    int month, day, hour, minute, second; /* month and day from 1 */
} civil_t;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t civil_to_seconds(const civil_t *c)
{
    int64_t y = c->month <= 2 ? c->year - 1 : c->year;
    int64_t era = floor_div(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * (c->month + (c->month > 2 ? -3 : 9)) + 2) / 5 + c->day - 1;
    int64_t day = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS;
    return day * DAY_SECONDS + c->hour * 3600 + c->minute * 60 + c->second;
}

static civil_t civil_of_seconds(int64_t seconds)
{
    int64_t day = floor_div(seconds, DAY_SECONDS), left = seconds - day * DAY_SECONDS;
    int64_t era = floor_div(day + EPOCH_DAYS, ERA_DAYS), of_era = day + EPOCH_DAYS - era * ERA_DAYS;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), shifted = (5 * of_year + 2) / 153;
    civil_t c = {.day = (int)(of_year - (153 * shifted + 2) / 5 + 1),
                 .month = (int)(shifted < 10 ? shifted + 3 : shifted - 9)};
    c.year = year + era * 400 + (c.month <= 2);
    c.hour = (int)(left / 3600);
    c.minute = (int)(left / 60 % 60);
    c.second = (int)(left % 60);
    return c;
}

static int month_days(int64_t year, int month)
{
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 ? (leap ? 29 : 28) : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* ---- reading: each take_… cuts what it read off the front, or answers false ---- */

static bool take_text(span_t *s, const char *text)
{
    span_t want = span_str(text);
    if (!span_caseeq(span_upto(*s, want.n), want))
        return false;
    *s = span_from(*s, want.n);
    return true;
}

static bool take_digits(span_t *s, size_t n, int *out)
{
    int v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!chars_is(s->p[i], CHARS_DIGIT))
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *out = v;
    *s = span_from(*s, n);
    return true;
}

static bool take_month(span_t *s, int *out)
{
    for (int m = 0; m < 12; m++)
        if (take_text(s, months[m])) {
            *out = m + 1;
            return true;
        }
    return false;
}

static bool take_time(span_t *s, civil_t *c)
{
    return take_digits(s, 2, &c->hour) && take_text(s, ":") && take_digits(s, 2, &c->minute) && take_text(s, ":") &&
           take_digits(s, 2, &c->second);
}

static bool take_year(span_t *s, civil_t *c)
{
    int year;
    if (!take_digits(s, 4, &year))
        return false;
    c->year = year;
    return true;
}

/* " 06 Nov 1994 08:49:37 GMT" behind "Sun," */
static bool take_imf(span_t s, civil_t *c)
{
    return take_text(&s, " ") && take_digits(&s, 2, &c->day) && take_text(&s, " ") && take_month(&s, &c->month) &&
           take_text(&s, " ") && take_year(&s, c) && take_text(&s, " ") && take_time(&s, c) && take_text(&s, " GMT") &&
           s.n == 0;
}

/* " 06-Nov-94 08:49:37 GMT" behind "Sunday,": the latest such year that is not more than 50 years ahead. */
static bool take_rfc850(span_t s, msec_t now_wall, civil_t *c)
{
    int year;
    if (!(take_text(&s, " ") && take_digits(&s, 2, &c->day) && take_text(&s, "-") && take_month(&s, &c->month) &&
          take_text(&s, "-") && take_digits(&s, 2, &year) && take_text(&s, " ") && take_time(&s, c) &&
          take_text(&s, " GMT") && s.n == 0))
        return false;
    civil_t edge = civil_of_seconds(floor_div(now_wall, MSEC_PER_SEC));
    edge.year += WINDOW_YEARS;
    c->year = floor_div(edge.year, 100) * 100 + year;
    if (civil_to_seconds(c) > civil_to_seconds(&edge))
        c->year -= 100;
    return true;
}

/* " Nov  6 08:49:37 1994" behind "Sun" */
static bool take_asctime(span_t s, civil_t *c)
{
    if (!(take_text(&s, " ") && take_month(&s, &c->month) && take_text(&s, " ")))
        return false;
    bool day = take_text(&s, " ") ? take_digits(&s, 1, &c->day) : take_digits(&s, 2, &c->day);
    return day && take_text(&s, " ") && take_time(&s, c) && take_text(&s, " ") && take_year(&s, c) && s.n == 0;
}

static bool take_date(span_t s, msec_t now_wall, civil_t *c)
{
    for (int d = 0; d < 7; d++) {
        span_t rest = s;
        if (take_text(&rest, days[d]))
            return take_text(&rest, ",") && take_rfc850(rest, now_wall, c);
        char brief[4] = {days[d][0], days[d][1], days[d][2], '\0'};
        if (take_text(&rest, brief))
            return take_text(&rest, ",") ? take_imf(rest, c) : take_asctime(rest, c);
    }
    return false;
}

err_t date_parse(span_t text, msec_t now_wall, msec_t *out)
{
    civil_t c = {0};
    if (!take_date(text, now_wall, &c) || c.day < 1 || c.day > month_days(c.year, c.month) || c.hour > 23 ||
        c.minute > 59 || c.second > 60)
        return ERR_SYNTAX;
    *out = civil_to_seconds(&c) * MSEC_PER_SEC;
    return ERR_OK;
}

static char *put(char *p, int64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + digits;
}

void date_format(msec_t wall, char out[DATE_LEN + 1])
{
    static const civil_t least = {0, 1, 1, 0, 0, 0}, most = {9999, 12, 31, 23, 59, 59};
    int64_t s = floor_div(wall, MSEC_PER_SEC), lo = civil_to_seconds(&least), hi = civil_to_seconds(&most);
    s = s < lo ? lo : s > hi ? hi : s;
    civil_t c = civil_of_seconds(s);
    int64_t day = floor_div(s, DAY_SECONDS) + 4; /* 1 January 1970 was a Thursday */
    memcpy(out, "Sun, 00 Jan 0000 00:00:00 GMT", DATE_LEN + 1);
    memcpy(out, days[day - floor_div(day, 7) * 7], 3);
    put(out + 5, c.day, 2);
    memcpy(out + 8, months[c.month - 1], 3);
    put(out + 12, c.year, 4);
    put(out + 17, c.hour, 2);
    put(out + 20, c.minute, 2);
    put(out + 23, c.second, 2);
}
