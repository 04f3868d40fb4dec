/* Sizes are written in binary units only and durations never without a unit: "64MB" and "30" leave room for two
 * readings, and a cache that guesses keeps things a thousand times too long. */
#include "edge/conf/units.h"

typedef struct unit {
    const char *name;
    int64_t factor;
} unit_t;

/* Largest first, so that writing finds the shortest form. */
static const unit_t sizes[] = {{"TiB", 1LL << 40}, {"GiB", 1LL << 30}, {"MiB", 1LL << 20}, {"KiB", 1LL << 10}, {"", 1}};
static const unit_t durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static err_t units_parse(span_t s, const unit_t *units, size_t n, int64_t *out)
{
    int64_t v = 0;
    size_t i = 0;
    bool over = false;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        over |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s.p[i] - '0', &v);
    if (i == 0)
        return ERR_SYNTAX;
    for (size_t u = 0; u < n; u++)
        if (span_eq(span_from(s, i), span_str(units[u].name)))
            return over || __builtin_mul_overflow(v, units[u].factor, out) ? ERR_RANGE : ERR_OK;
    return ERR_SYNTAX;
}

err_t units_count(span_t s, int64_t *out)
{
    return units_parse(s, &sizes[4], 1, out);
}

err_t units_size(span_t s, int64_t *out)
{
    return units_parse(s, sizes, sizeof sizes / sizeof *sizes, out);
}

err_t units_duration(span_t s, msec_t *out)
{
    return units_parse(s, durations, sizeof durations / sizeof *durations, out);
}

static const char *units_write(int64_t v, const unit_t *units, size_t n, char buf[32])
{
    size_t u = 0;
    while (u + 1 < n && (v < units[u].factor || v % units[u].factor != 0))
        u++;
    snprintf(buf, 32, "%lld%s", (long long)(v / units[u].factor), units[u].name);
    return buf;
}

const char *units_write_size(int64_t v, char buf[32])
{
    return units_write(v, sizes, sizeof sizes / sizeof *sizes, buf);
}

const char *units_write_duration(msec_t v, char buf[32])
{
    return v == 0 ? memcpy(buf, "0s", 3) : units_write(v, durations, sizeof durations / sizeof *durations, buf);
}
