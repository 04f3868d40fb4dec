/* Names, numbers, sizes, durations, and one word of a few. */
#include <stdio.h>

#include "edge/conf/kinds_priv.h"
#include "edge/conf/units.h"

bool kind_read_NAME(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_scalar(r, s, node))
        return false;
    bool good = node->text.n > 0 && (int64_t)node->text.n <= s->max && node->text.p[0] != ' ' &&
                node->text.p[node->text.n - 1] != ' ';
    for (size_t i = 0; good && i < node->text.n; i++)
        good = node->text.p[i] >= ' ' && node->text.p[i] < 0x7f && strchr("\"\\,;/", node->text.p[i]) == NULL;
    if (!good)
        return reader_fail(
            r, ERR_RANGE, node,
            "`%s` must be 1 to %lld visible ASCII characters without \" \\ , ; and /, for example edge-1", s->key,
            (long long)s->max);
    return kind_text(r, s, node, base);
}

static bool kind_range(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, int64_t v, err_t e,
                       const char *(*write)(int64_t, char[32]))
{
    char low[32], high[32];
    if (e == ERR_OK && v >= s->min && v <= s->max)
        return true;
    return reader_fail(r, ERR_RANGE, node, "`%s`: %.*s is out of range: write %s to %s", s->key,
                       SPAN_ARG(span_upto(node->text, 40)), write(s->min, low), write(s->max, high));
}

static const char *kind_write_count(int64_t v, char buf[32])
{
    snprintf(buf, 32, "%lld", (long long)v);
    return buf;
}

bool kind_read_COUNT(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int64_t v = 0;
    err_t e = kind_scalar(r, s, node) ? units_count(node->text, &v) : ERR_OK;
    if (r->code != ERR_OK)
        return false;
    if (e == ERR_SYNTAX)
        return reader_fail(r, e, node, "`%s`: `%.*s` is no whole number", s->key, SPAN_ARG(span_upto(node->text, 40)));
    *AT(uint32_t) = (uint32_t)v;
    return kind_range(r, s, node, v, e, kind_write_count);
}

bool kind_read_SIZE(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int64_t v = 0;
    err_t e = kind_scalar(r, s, node) ? units_size(node->text, &v) : ERR_OK;
    if (r->code != ERR_OK)
        return false;
    if (e == ERR_SYNTAX)
        return reader_fail(
            r, e, node,
            "`%s`: `%.*s` is no size: write bytes, or a whole number with KiB, MiB, GiB or TiB, for example 64MiB",
            s->key, SPAN_ARG(span_upto(node->text, 40)));
    *AT(uint64_t) = (uint64_t)v;
    return kind_range(r, s, node, v, e, units_write_size);
}

bool kind_read_DURATION(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    msec_t v = 0;
    err_t e = kind_scalar(r, s, node) ? units_duration(node->text, &v) : ERR_OK;
    if (r->code != ERR_OK)
        return false;
    if (e == ERR_SYNTAX)
        return reader_fail(
            r, e, node,
            "`%s`: `%.*s` is no duration: write a whole number with ms, s, m, h or d, for example 250ms or 30s", s->key,
            SPAN_ARG(span_upto(node->text, 40)));
    *AT(msec_t) = v;
    return kind_range(r, s, node, v, e, units_write_duration);
}

bool kind_read_DURATION_OR_NEVER(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (node->kind != TREE_SCALAR || !span_eq(node->text, SPAN("never")))
        return kind_read_DURATION(r, s, node, base);
    *AT(msec_t) = MSEC_NEVER;
    return true;
}

int kind_choose(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, const char *words)
{
    if (!kind_scalar(r, s, node))
        return -1;
    int i = 0;
    for (span_t rest = span_str(words); rest.n > 0; i++) {
        size_t bar = span_find(rest, '|');
        if (span_eq(node->text, span_upto(rest, bar)))
            return i;
        rest = span_from(rest, bar + 1);
    }
    reader_fail(r, ERR_SYNTAX, node, "`%s`: `%.*s` is not one of %s", s->key, SPAN_ARG(span_upto(node->text, 40)),
                words);
    return -1;
}

bool kind_read_BOOL(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "false|true");
    *AT(bool) = i == 1;
    return i >= 0;
}

bool kind_read_SWITCH(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "false|true");
    *AT(int8_t) = (int8_t)i;
    return i >= 0;
}

bool kind_read_AUTO(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "off|auto");
    *AT(bool) = i == 1;
    return i >= 0;
}

bool kind_read_WORD(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, s->words);
    *AT(unsigned) = i >= 0 ? (unsigned)i : 0; /* enums without negative members */
    return i >= 0;
}
