/* Lists of words, and what is like nothing else. */
#include "edge/conf/kinds_priv.h"
#include "edge/http/upgrade.h"

bool kind_read_TOKENS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_QUERY(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_ALLOW(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    int order[2];
    size_t n;
    return kind_words(r, s, node, "purge|read", AT(unsigned), order, &n) &&
           (n > 0 || reader_fail(r, ERR_RANGE, node, "`%s` is empty, so the token may do nothing: write purge or read",
                                 s->key));
}

bool kind_read_COMPRESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    conf_site_t *site = (conf_site_t *)(void *)base;
    int order[3];
    unsigned set;
    if (!kind_words(r, s, node, "zstd|br|gzip", &set, order, &site->compress_n))
        return false;
    for (size_t i = 0; i < site->compress_n; i++)
        site->compress[i] = (coding_t)(CODING_ZSTD + order[i]);
    return true;
}

bool kind_read_SHA256(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_GLOB(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = glob_compile(r->arena, node->text, AT(glob_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

bool kind_read_TARGET(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (node->text.n == 0 || node->text.p[0] != '/' || !kind_printable(node->text, "#") || node->text.n > 1024)
        return reader_fail(r, ERR_SYNTAX, node,
                           "`%s` must be a path as it is sent, without spaces and #: /healthz or /ping?from=cdn",
                           s->key);
    return kind_text(r, s, node, base);
}

bool kind_read_UPGRADE(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_list(r, s, node))
        return false;
    span_t *v = kind_elements(r, s, node, base);
    for (const tree_t *e = node->first; e != NULL; e = e->next) {
        if (!kind_element_scalar(r, s, e))
            return false;
        if (e->text.n > 64 || !upgrade_permissible(e->text))
            return reader_fail(r, ERR_SYNTAX, e,
                               "`%s`: `%.*s` can't be tunnelled: write names as websocket or chat/2.0; HTTP and TLS in "
                               "any version would let requests pass the cache unseen",
                               s->key, SPAN_ARG(span_upto(e->text, 40)));
        *v++ = arena_copy(r->arena, e->text);
    }
    return true;
}
