/* libyaml's events are folded into a tree with a stack of fixed depth. The ceilings (bytes, nodes, depth) are checked
 * as the events come, so a hostile document is left where it goes over them and not after it was built. */
#include "edge/conf/tree.h"

#include <stdio.h>
#include <yaml.h>

typedef struct tree_builder {
    arena_t *arena;
    conf_error_t *err;
    tree_t *root;
    tree_t *open[CONF_MAX_DEPTH];     /* lists and mappings that are not closed */
    tree_t *last[CONF_MAX_DEPTH];     /* their last element or key */
    bool wants_value[CONF_MAX_DEPTH]; /* a mapping whose last key has no value yet */
    size_t depth, nodes;
} tree_builder_t;

static err_t tree_fail(tree_builder_t *b, err_t code, yaml_mark_t at, const char *message)
{
    b->err->line = (int)at.line + 1;
    b->err->column = (int)at.column + 1;
    snprintf(b->err->message, sizeof b->err->message, "%s", message);
    return code;
}

static err_t tree_place(tree_builder_t *b, tree_t *node, yaml_mark_t at)
{
    if (b->depth == 0) {
        b->root = node;
        return ERR_OK;
    }
    size_t top = b->depth - 1;
    tree_t *parent = b->open[top];
    if (parent->kind == TREE_MAP && b->wants_value[top]) {
        b->last[top]->value = node;
        b->wants_value[top] = false;
        return ERR_OK;
    }
    if (parent->kind == TREE_MAP) {
        if (node->kind != TREE_SCALAR)
            return tree_fail(b, ERR_SYNTAX, at, "a key must be a plain word");
        b->wants_value[top] = true;
    }
    if (b->last[top] == NULL)
        parent->first = node;
    else
        b->last[top]->next = node;
    b->last[top] = node;
    parent->n++;
    return ERR_OK;
}

static err_t tree_add(tree_builder_t *b, tree_kind_t kind, yaml_mark_t at, tree_t **out)
{
    if (++b->nodes > CONF_MAX_NODES)
        return tree_fail(b, ERR_TOO_BIG, at, "the configuration has too many entries");
    tree_t *node = arena_zalloc(b->arena, sizeof *node);
    if (node == NULL)
        return tree_fail(b, ERR_NO_MEMORY, at, "out of memory");
    node->kind = kind;
    node->line = (int)at.line + 1;
    node->column = (int)at.column + 1;
    *out = node;
    return tree_place(b, node, at);
}

static err_t tree_scalar(tree_builder_t *b, const yaml_event_t *e)
{
    span_t text = span_of((const char *)e->data.scalar.value, e->data.scalar.length);
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return tree_fail(b, ERR_SYNTAX, e->start_mark,
                             "a value must stand on one line, without control characters");
    tree_t *node;
    err_t code = tree_add(b, TREE_SCALAR, e->start_mark, &node);
    if (code != ERR_OK)
        return code;
    node->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_copy(b->arena, text);
    return node->text.p != NULL ? ERR_OK : tree_fail(b, ERR_NO_MEMORY, e->start_mark, "out of memory");
}

static err_t tree_open(tree_builder_t *b, tree_kind_t kind, const yaml_event_t *e)
{
    if (b->depth == CONF_MAX_DEPTH)
        return tree_fail(b, ERR_TOO_BIG, e->start_mark, "nested too deeply");
    tree_t *node;
    err_t code = tree_add(b, kind, e->start_mark, &node);
    if (code != ERR_OK)
        return code;
    b->open[b->depth] = node;
    b->last[b->depth] = NULL;
    b->wants_value[b->depth] = false;
    b->depth++;
    return ERR_OK;
}

static err_t tree_event(tree_builder_t *b, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return tree_fail(b, ERR_REFUSED, e->start_mark,
                         "aliases (*name) are not supported: write the value out, or quote it if the * is meant");
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        break;
    case YAML_DOCUMENT_START_EVENT:
        return b->root == NULL ? ERR_OK
                               : tree_fail(b, ERR_SYNTAX, e->start_mark,
                                           "one file holds one configuration: a second document begins here");
    default:
        break;
    }
    if (anchor != NULL)
        return tree_fail(b, ERR_REFUSED, e->start_mark,
                         "anchors (&name) are not supported: write the value out where it is needed");
    if (tag != NULL)
        return tree_fail(b, ERR_REFUSED, e->start_mark, "tags (!name) are not supported: leave it out");
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return tree_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
        return tree_open(b, TREE_LIST, e);
    case YAML_MAPPING_START_EVENT:
        return tree_open(b, TREE_MAP, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

/* libyaml's reader knows the offset of a bad byte and not its line. */
static yaml_mark_t tree_mark_of(span_t bytes, size_t offset)
{
    yaml_mark_t m = {.index = offset};
    for (size_t i = 0; i < offset && i < bytes.n; i++) {
        m.column++;
        if (bytes.p[i] == '\n')
            m.line++, m.column = 0;
    }
    return m;
}

static err_t tree_syntax(tree_builder_t *b, const yaml_parser_t *p, span_t bytes)
{
    if (p->error == YAML_MEMORY_ERROR)
        return tree_fail(b, ERR_NO_MEMORY, p->problem_mark, "out of memory");
    char message[256];
    bool tab = p->problem_mark.index < bytes.n && bytes.p[p->problem_mark.index] == '\t';
    snprintf(message, sizeof message, "not valid YAML: %s%s%s%s", p->context != NULL ? p->context : "",
             p->context != NULL ? ", " : "", p->problem != NULL ? p->problem : "unknown problem",
             tab ? "; indent with spaces, not with tabs" : "");
    yaml_mark_t at = p->error == YAML_READER_ERROR ? tree_mark_of(bytes, p->problem_offset) : p->problem_mark;
    return tree_fail(b, ERR_SYNTAX, at, message);
}

err_t tree_parse(arena_t *a, span_t bytes, tree_t **out, conf_error_t *err)
{
    tree_builder_t b = {.arena = a, .err = err};
    *out = NULL;
    err->line = err->column = 0;
    if (bytes.n > CONF_MAX_BYTES) {
        snprintf(err->message, sizeof err->message, "larger than %d bytes", CONF_MAX_BYTES);
        return ERR_TOO_BIG;
    }
    if (span_starts(bytes, SPAN("\xff\xfe")) || span_starts(bytes, SPAN("\xfe\xff"))) {
        snprintf(err->message, sizeof err->message, "is UTF-16: save it as UTF-8");
        return ERR_SYNTAX;
    }
    if (span_starts(bytes, SPAN("\xef\xbb\xbf"))) /* some editors write it before UTF-8; libyaml stumbles over it */
        bytes = span_from(bytes, 3);
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        snprintf(err->message, sizeof err->message, "out of memory");
        return ERR_NO_MEMORY;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(bytes.p != NULL ? bytes.p : ""), bytes.n);
    err_t code = ERR_OK;
    for (bool end = false; code == ERR_OK && !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            code = tree_syntax(&b, &parser, bytes);
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        code = tree_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (code == ERR_OK && b.root == NULL) {
        snprintf(err->message, sizeof err->message, "is empty: it needs at least `listen` and `sites`");
        code = ERR_SYNTAX;
    }
    if (code == ERR_OK)
        *out = b.root;
    return code;
}

tree_t *tree_default(arena_t *a, const char *text)
{
    tree_t *node = arena_zalloc(a, sizeof *node);
    if (node == NULL)
        return NULL;
    span_t s = span_str(text);
    if (s.n < 2 || s.p[0] != '[') {
        node->kind = TREE_SCALAR;
        node->text = s;
        return node;
    }
    node->kind = TREE_LIST;
    tree_t **tail = &node->first;
    for (s = span_of(s.p + 1, s.n - 2); s.n > 0;) {
        size_t comma = span_find(s, ',');
        tree_t *element = arena_zalloc(a, sizeof *element);
        if (element == NULL)
            return NULL;
        element->text = span_trim(span_upto(s, comma));
        *tail = element;
        tail = &element->next;
        node->n++;
        s = span_from(s, comma + 1);
    }
    return node;
}

const char *tree_kind_name(const tree_t *t)
{
    return t->kind == TREE_MAP ? "a mapping" : t->kind == TREE_LIST ? "a list" : "a single value";
}
