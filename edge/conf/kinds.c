/* One reader for each kind of value. A reader takes the node, stores what it means in the member, and explains itself
 * where it can't: what was found, and what would be right. Here is what readers share, and those of structure; the
 * others are in kinds_number.c, kinds_file.c, kinds_address.c and kinds_list.c. */
#include "edge/conf/kinds_priv.h"

bool kind_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
{
    if (node->kind == TREE_SCALAR)
        return true;
    return reader_fail(r, ERR_SYNTAX, node, "`%s` must be a single value, not %s", s->key, tree_kind_name(node));
}

bool kind_list(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
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

void *kind_elements(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    void *v = node->n > 0 ? arena_zalloc(r->arena, node->n * s->element) : NULL;
    *AT(const void *) = v;
    *COUNT_AT = node->n;
    return v;
}

bool kind_element_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node)
{
    if (node->kind == TREE_SCALAR && (node->quoted || node->text.n > 0))
        return true;
    return reader_fail(r, ERR_SYNTAX, node, "an element of `%s` must be a single value", s->key);
}

bool kind_printable(span_t s, const char *but)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] == 0x7f || strchr(but, s.p[i]) != NULL)
            return false;
    return s.n > 0;
}

bool kind_text(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    *AT(span_t) = arena_copy(r->arena, node->text);
    return AT(span_t)->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

/* ---- structure ---- */
bool kind_read_MAP(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    if (s->flags & OPTIONAL)
        *AT(bool) = true;
    return reader_section(r, &conf_sections[s->child], node, base + s->offset);
}

bool kind_read_MAPS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
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
        [CONF_KIND_UPGRADE] = "list of protocols",
        [CONF_KIND_MAP] = "mapping",
        [CONF_KIND_MAPS] = "list of mappings",
    };
    return docs[kind];
}
