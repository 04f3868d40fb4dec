/* One reader for each kind of value. A reader takes the node, stores what it means in the member, and explains itself
 * where it can't: what was found, and what would be right. */
#include "edge/conf/conf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/conf/address.h"
#include "edge/conf/units.h"
#include "edge/http/chars.h"

#define AT(type) ((type *)(void *)(base + s->offset))
#define COUNT_AT ((size_t *)(void *)(base + s->count))

static bool kind_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
{
    if (node->kind == TREE_SCALAR)
        return true;
    return reader_fail(r, ERR_SYNTAX, node, "`%s` must be a single value, not %s", s->key, tree_kind_name(node));
}

static bool kind_list(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
{
    if (node->kind != TREE_LIST)
        return reader_fail(r, ERR_SYNTAX, node,
                           "`%s` must be a list, not %s: write [ … ], or one element a line behind a -", s->key,
                           tree_kind_name(node));
    if ((int64_t)node->n < s->min)
        return reader_fail(r, ERR_RANGE, node, "`%s` must have at least %lld element%s", s->key, (long long)s->min,
                           s->min == 1 ? "" : "s");
    if (s->max > 0 && (int64_t)node->n > s->max)
        return reader_fail(r, ERR_TOO_BIG, node, "`%s` has %zu elements; at most %lld are allowed", s->key, node->n,
                           (long long)s->max);
    return true;
}

/* Room for a list's elements, and its count; NULL only for an empty list. */
static void *kind_elements(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    void *v = node->n > 0 ? arena_zalloc(r->arena, node->n * s->element) : NULL;
    *AT(const void *) = v;
    *COUNT_AT = node->n;
    return v;
}

static bool kind_element_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
{
    if (node->kind == TREE_SCALAR && (node->quoted || node->text.n > 0))
        return true;
    return reader_fail(r, ERR_SYNTAX, node, "an element of `%s` must be a single value", s->key);
}

static bool kind_printable(span_t s, const char *but)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] == 0x7f || strchr(but, s.p[i]) != NULL)
            return false;
    return s.n > 0;
}

static bool kind_text(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    *AT(span_t) = arena_copy(r->arena, node->text);
    return AT(span_t)->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

/* ---- words and numbers ---- */
static bool kind_read_NAME(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

static bool kind_read_COUNT(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

static bool kind_read_SIZE(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

static bool kind_read_DURATION(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

static bool kind_read_DURATION_OR_NEVER(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (node->kind != TREE_SCALAR || !span_eq(node->text, SPAN("never")))
        return kind_read_DURATION(r, s, node, base);
    *AT(msec_t) = MSEC_NEVER;
    return true;
}

/* -1 after a failure. */
static int kind_choose(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, const char *words)
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

static bool kind_read_BOOL(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "false|true");
    *AT(bool) = i == 1;
    return i >= 0;
}

static bool kind_read_SWITCH(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "false|true");
    *AT(int8_t) = (int8_t)i;
    return i >= 0;
}

static bool kind_read_AUTO(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, "off|auto");
    *AT(bool) = i == 1;
    return i >= 0;
}

static bool kind_read_WORD(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int i = kind_choose(r, s, node, s->words);
    *AT(unsigned) = i >= 0 ? (unsigned)i : 0; /* enums without negative members */
    return i >= 0;
}

/* ---- files ---- */
static bool kind_path(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, span_t *out)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (node->text.n == 0 || node->text.n > 1024)
        return reader_fail(r, ERR_RANGE, node, "`%s` must be a file name of 1 to 1024 bytes", s->key);
    /* A default is not written in the file, so it isn't relative to it. */
    bool as_is = node->text.p[0] == '/' || node->line == 0;
    *out = as_is ? arena_copy(r->arena, node->text)
                 : arena_printf(r->arena, "%.*s%.*s", SPAN_ARG(r->dir), SPAN_ARG(node->text));
    return out->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

static bool kind_read_FILE(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    return kind_path(r, s, node, AT(span_t));
}

static bool kind_read_SECRET(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    span_t path;
    if (!kind_path(r, s, node, &path))
        return false;
    char bytes[CONF_MAX_SECRET + 1];
    struct stat st;
    /* Opening a FIFO would hang the start, opening a device might do anything. */
    if (stat(path.p, &st) == 0 && !S_ISREG(st.st_mode))
        return reader_fail(r, ERR_IO, node, "`%s`: %s is no regular file", s->key, path.p);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd >= 0 && fstat(fd, &st) == 0 ? read(fd, bytes, sizeof bytes) : -1;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return reader_fail(r, ERR_IO, node, "`%s`: %s can't be read: %s. Make one with: openssl rand -hex 32 > FILE",
                           s->key, path.p, strerror(saved));
    size_t n = (size_t)got;
    while (n > 0 && strchr(" \t\r\n", bytes[n - 1]) != NULL && bytes[n - 1] != '\0')
        n--;
    if (got > CONF_MAX_SECRET || n < CONF_MIN_SECRET)
        return reader_fail(r, ERR_RANGE, node,
                           "`%s`: %s must hold %d to %d bytes. Make one with: openssl rand -hex 32 > FILE", s->key,
                           path.p, CONF_MIN_SECRET, CONF_MAX_SECRET);
    if (st.st_mode & S_IRWXO)
        reader_warn(r, node, "%s can be read by every user of this machine: chmod o= %s", path.p, path.p);
    *AT(span_t) = arena_copy(r->arena, span_of(bytes, n));
    explicit_bzero(bytes, sizeof bytes);
    return AT(span_t)->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

static bool kind_read_LOG_ACCESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    conf_log_t *log = (conf_log_t *)(void *)base;
    if (!kind_scalar(r, s, node))
        return false;
    if (span_eq(node->text, SPAN("off")))
        log->access = CONF_LOG_OFF;
    else if (span_eq(node->text, SPAN("stdout")))
        log->access = CONF_LOG_STDOUT;
    else if (span_eq(node->text, SPAN("syslog")))
        log->access = CONF_LOG_SYSLOG;
    else
        log->access = CONF_LOG_FILE;
    return log->access != CONF_LOG_FILE || kind_path(r, s, node, &log->path);
}

/* ---- addresses ---- */
static bool kind_address_failed(conf_reader_t *r, err_t e, const conf_setting_t *s, const tree_t *node, const char *why)
{
    if (e == ERR_NO_MEMORY)
        return reader_fail(r, e, node, "out of memory");
    /* A password that stands in a URL is not repeated. */
    span_t shown = span_find(node->text, '@') < node->text.n ? SPAN("…") : span_upto(node->text, 80);
    return reader_fail(r, e, node, "`%s`: `%.*s`: %s", s->key, SPAN_ARG(shown), why);
}

static bool kind_read_ADDRESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = address_listen(r->arena, node->text, r->dir, AT(conf_address_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

static bool kind_read_HOST(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    *AT(span_t) = SPAN_NONE;
    if (node->text.n == 0)
        return true;
    err_t e = address_host(r->arena, node->text, AT(span_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

static bool kind_read_HOSTS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    span_t *v = kind_elements(r, s, node, base);
    for (const tree_t *e = node->first; e != NULL; e = e->next) {
        const char *why = NULL;
        if (!kind_element_scalar(r, s, e))
            return false;
        err_t code = address_pattern(r->arena, e->text, v++, &why);
        if (code != ERR_OK)
            return kind_address_failed(r, code, s, e, why);
    }
    return true;
}

/* The rest of the element is read by rows of its own: the URL stands first in structure and table. */
_Static_assert(offsetof(conf_origin_t, url) == 0, "a URL is read into the whole origin");

static bool kind_read_ORIGIN(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t code = address_origin(r->arena, node->text, r->dir, AT(conf_origin_t), &why);
    return code == ERR_OK || kind_address_failed(r, code, s, node, why);
}

static bool kind_read_ORIGINS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    conf_origin_t *first = kind_elements(r, s, node, base), *v = first;
    for (const tree_t *e = node->first; e != NULL; e = e->next, v++) {
        const char *why = NULL;
        if (e->kind == TREE_MAP) {
            if (!reader_section(r, &conf_sections[s->child], e, (char *)v))
                return false;
        } else {
            if (!kind_element_scalar(r, s, e))
                return false;
            err_t code = address_origin(r->arena, e->text, r->dir, v, &why);
            if (code != ERR_OK)
                return kind_address_failed(r, code, s, e, why);
            v->weight = 1;
        }
        for (const conf_origin_t *o = first; o < v; o++)
            if (span_eq(o->url, v->url))
                return reader_fail(r, ERR_EXISTS, e, "`%s`: %.*s stands there twice", s->key,
                                   SPAN_ARG(span_upto(v->url, 80)));
    }
    return true;
}

static bool kind_read_REDIS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = address_redis(r->arena, node->text, r->dir, AT(conf_redis_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

static bool kind_read_REDIS_KEY(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (!kind_printable(node->text, "") || node->text.n > 200)
        return reader_fail(r, ERR_RANGE, node, "`%s` must be 1 to 200 bytes without spaces", s->key);
    return kind_text(r, s, node, base);
}

static bool kind_read_CHANNEL(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (node->kind != TREE_SCALAR || !span_eq(node->text, SPAN("none")))
        return kind_read_REDIS_KEY(r, s, node, base);
    *AT(span_t) = SPAN_NONE;
    return true;
}

static bool kind_read_NETWORKS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    network_t *first = kind_elements(r, s, node, base), *v = first;
    for (const tree_t *e = node->first; e != NULL; e = e->next) {
        if (!kind_element_scalar(r, s, e))
            return false;
        err_t code = network_parse(e->text, v++);
        if (code == ERR_SYNTAX)
            return reader_fail(r, code, e,
                               "`%s`: `%.*s` is no network: write 192.0.2.0/24, 192.0.2.7 or \"2001:db8::/32\"", s->key,
                               SPAN_ARG(span_upto(e->text, 60)));
        if (code != ERR_OK)
            return reader_fail(r, code, e, "`%s`: `%.*s` has bits behind its prefix, or a prefix that is too long",
                               s->key, SPAN_ARG(span_upto(e->text, 60)));
    }
    if (first != NULL)
        *COUNT_AT = network_sort(first, *COUNT_AT);
    return true;
}

static bool kind_read_CLIENT(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    span_t prefix = SPAN("header:");
    *AT(span_t) = SPAN_NONE;
    if (!kind_scalar(r, s, node))
        return false;
    if (span_eq(node->text, SPAN("address")))
        return true;
    span_t name = span_from(node->text, prefix.n);
    if (!span_starts(node->text, prefix) || name.n == 0 || !chars_all(name, CHARS_TOKEN) || name.n > 256)
        return reader_fail(r, ERR_SYNTAX, node, "`%s`: `%.*s`: write address, or header: and the name of a field",
                           s->key, SPAN_ARG(span_upto(node->text, 60)));
    if (!kind_text(r, s, &(tree_t){.kind = TREE_SCALAR, .text = name}, base))
        return false;
    for (size_t i = 0; i < name.n; i++)
        ((char *)AT(span_t)->p)[i] = span_lower(name.p[i]);
    return true;
}

/* ---- lists of words, and what is like nothing else ---- */
static bool kind_read_TOKENS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    span_t *v = kind_elements(r, s, node, base);
    for (const tree_t *e = node->first; e != NULL; e = e->next) {
        if (!kind_element_scalar(r, s, e))
            return false;
        if (!kind_printable(e->text, "()<>@,;:\\\"/[]?={}") || e->text.n > 256)
            return reader_fail(r, ERR_SYNTAX, e, "`%s`: `%.*s` is no name of a cookie", s->key,
                               SPAN_ARG(span_upto(e->text, 40)));
        *v++ = arena_copy(r->arena, e->text);
    }
    return true;
}

static bool kind_read_QUERY(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    key_rules_t *key = (key_rules_t *)(void *)base;
    static const char right[] = "write all, none, { only: [names] } or { except: [names] }";
    if (node->kind == TREE_SCALAR) {
        int i = kind_choose(r, s, node, "all|none");
        key->query = i == 1 ? KEY_QUERY_NONE : KEY_QUERY_ALL;
        return i >= 0;
    }
    const tree_t *word = node->kind == TREE_MAP && node->n == 1 ? node->first : NULL;
    bool only = word != NULL && span_eq(word->text, SPAN("only"));
    if (word == NULL || (!only && !span_eq(word->text, SPAN("except"))))
        return reader_fail(r, ERR_SYNTAX, word != NULL ? word : node, "`%s` is not understood: %s", s->key, right);
    if (!kind_list(r, s, word->value))
        return false;
    key->query = only ? KEY_QUERY_ONLY : KEY_QUERY_EXCEPT;
    span_t *v = arena_zalloc(r->arena, (word->value->n + 1) * sizeof *v);
    key->query_names = v;
    key->query_names_n = word->value->n;
    for (const tree_t *e = word->value->first; e != NULL; e = e->next) {
        if (!kind_element_scalar(r, s, e))
            return false;
        size_t star = span_find(e->text, '*');
        if (!kind_printable(e->text, "&=#") || e->text.n > 256 || (star < e->text.n && star != e->text.n - 1))
            return reader_fail(r, ERR_SYNTAX, e,
                               "`%s`: `%.*s` is no name of a query parameter; a * may stand at its end", s->key,
                               SPAN_ARG(span_upto(e->text, 40)));
        *v++ = arena_copy(r->arena, e->text);
    }
    return true;
}

/* Words without repetition; what each stands for is told by its place in `words`. */
static bool kind_words(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, const char *words, unsigned *set,
                       int *order, size_t *n)
{
    *set = 0;
    *n = 0;
    if (!kind_list(r, s, node))
        return false;
    for (const tree_t *e = node->first; e != NULL; e = e->next) {
        int i = kind_choose(r, s, e, words);
        if (i < 0)
            return false;
        if (*set & 1u << i)
            return reader_fail(r, ERR_EXISTS, e, "`%s`: `%.*s` stands there twice", s->key, SPAN_ARG(e->text));
        *set |= 1u << i;
        order[(*n)++] = i;
    }
    return true;
}

static bool kind_read_ALLOW(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int order[2];
    size_t n;
    return kind_words(r, s, node, "purge|read", AT(unsigned), order, &n);
}

static bool kind_read_COMPRESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    conf_site_t *site = (conf_site_t *)(void *)base;
    int order[3];
    unsigned set;
    if (!kind_words(r, s, node, "zstd|br|gzip", &set, order, &site->compress_n))
        return false;
    for (size_t i = 0; i < site->compress_n; i++)
        site->compress[i] = (conf_coding_t)order[i];
    return true;
}

static bool kind_read_SHA256(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    unsigned char *out = AT(unsigned char);
    if (!kind_scalar(r, s, node))
        return false;
    bool good = node->text.n == 64;
    for (size_t i = 0; good && i < 64; i++) {
        char c = span_lower(node->text.p[i]);
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        good = v >= 0;
        out[i / 2] = (unsigned char)((i % 2 == 0 ? 0 : out[i / 2] << 4) | (v & 15));
    }
    return good || reader_fail(r, ERR_SYNTAX, node, "`%s` must be 64 hex digits: printf %%s TOKEN | sha256sum", s->key);
}

static bool kind_read_GLOB(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = glob_compile(r->arena, node->text, AT(glob_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

static bool kind_read_TARGET(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (node->text.n == 0 || node->text.p[0] != '/' || !kind_printable(node->text, "#") || node->text.n > 1024)
        return reader_fail(r, ERR_SYNTAX, node,
                           "`%s` must be a path as it is sent, without spaces and #: /healthz or /ping?from=cdn",
                           s->key);
    return kind_text(r, s, node, base);
}

/* ---- structure ---- */
static bool kind_read_MAP(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (s->flags & OPTIONAL)
        *AT(bool) = true;
    return reader_section(r, &conf_sections[s->child], node, base + s->offset);
}

static bool kind_read_MAPS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    char *v = kind_elements(r, s, node, base);
    for (const tree_t *e = node->first; e != NULL; e = e->next, v += s->element)
        if (!reader_section(r, &conf_sections[s->child], e, v))
            return false;
    return true;
}

void kind_unset(const conf_setting_t *s, char *base)
{
    if (s->kind == CONF_KIND_DURATION)
        *AT(msec_t) = RULES_UNSET;
    if (s->kind == CONF_KIND_SWITCH)
        *AT(int8_t) = -1;
}

kind_read_fn *const kind_readers[] = {
#define X(kind) [CONF_KIND_##kind] = kind_read_##kind,
    CONF_KINDS(X)
#undef X
};

const char *kind_doc(conf_kind_t kind)
{
    static const char *const docs[] = {
        [CONF_KIND_NAME] = "name",
        [CONF_KIND_FILE] = "file name",
        [CONF_KIND_SECRET] = "file name",
        [CONF_KIND_HOST] = "host",
        [CONF_KIND_COUNT] = "number",
        [CONF_KIND_SIZE] = "size",
        [CONF_KIND_DURATION] = "duration",
        [CONF_KIND_DURATION_OR_NEVER] = "duration or never",
        [CONF_KIND_BOOL] = "true | false",
        [CONF_KIND_SWITCH] = "true | false",
        [CONF_KIND_AUTO] = "auto | off",
        [CONF_KIND_WORD] = "word",
        [CONF_KIND_ADDRESS] = "address",
        [CONF_KIND_SHA256] = "64 hex digits",
        [CONF_KIND_ALLOW] = "list of words",
        [CONF_KIND_HOSTS] = "list of hosts",
        [CONF_KIND_TARGET] = "path",
        [CONF_KIND_ORIGIN] = "URL",
        [CONF_KIND_ORIGINS] = "list of URLs, or of mappings with a url",
        [CONF_KIND_TOKENS] = "list of names",
        [CONF_KIND_QUERY] = "rule",
        [CONF_KIND_COMPRESS] = "list of words",
        [CONF_KIND_GLOB] = "glob",
        [CONF_KIND_REDIS] = "URL",
        [CONF_KIND_REDIS_KEY] = "name",
        [CONF_KIND_CHANNEL] = "name or none",
        [CONF_KIND_LOG_ACCESS] = "word or file name",
        [CONF_KIND_NETWORKS] = "list of networks",
        [CONF_KIND_CLIENT] = "address | header:NAME",
        [CONF_KIND_MAP] = "mapping",
        [CONF_KIND_MAPS] = "list of mappings",
    };
    return docs[kind];
}
