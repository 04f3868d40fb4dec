/* Addresses, hosts, URLs, networks: where something is, and who. */
#include "edge/conf/address.h"
#include "edge/conf/kinds_priv.h"
#include "edge/http/chars.h"

bool kind_address_failed(conf_reader_t *r, err_t e, const conf_setting_t *s, const tree_t *node, const char *why)
{
    if (e == ERR_NO_MEMORY)
        return reader_fail(r, e, node, "out of memory");
    /* A password that stands in a URL is not repeated. */
    span_t shown = span_find(node->text, '@') < node->text.n ? SPAN("…") : span_upto(node->text, 80);
    return reader_fail(r, e, node, "`%s`: `%.*s`: %s", s->key, SPAN_ARG(shown), why);
}

bool kind_read_ADDRESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = address_listen(r->arena, node->text, r->dir, AT(conf_address_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

bool kind_read_HOST(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_HOSTS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_ORIGIN(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t code = address_origin(r->arena, node->text, r->dir, AT(conf_origin_t), &why);
    return code == ERR_OK || kind_address_failed(r, code, s, node, why);
}

bool kind_read_ORIGINS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_REDIS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    const char *why = NULL;
    if (!kind_scalar(r, s, node))
        return false;
    err_t e = address_redis(r->arena, node->text, r->dir, AT(conf_redis_t), &why);
    return e == ERR_OK || kind_address_failed(r, e, s, node, why);
}

bool kind_read_REDIS_KEY(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (!kind_printable(node->text, "") || node->text.n > 200)
        return reader_fail(r, ERR_RANGE, node, "`%s` must be 1 to 200 bytes without spaces", s->key);
    return kind_text(r, s, node, base);
}

bool kind_read_CHANNEL(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (node->kind != TREE_SCALAR || !span_eq(node->text, SPAN("none")))
        return kind_read_REDIS_KEY(r, s, node, base);
    *AT(span_t) = SPAN_NONE;
    return true;
}

bool kind_read_NETWORKS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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

bool kind_read_CLIENT(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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
