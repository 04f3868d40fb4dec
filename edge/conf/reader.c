/* Walks the tree along the table of settings. Each key of a mapping must be in the section's table (else the nearest
 * one is named), may stand once, and is read by its kind; what is absent gets its default, which goes through the same
 * readers as if it had been written. So a setting is a row of the table, and nothing here knows any by name. */
#include "edge/conf/conf_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/mem.h"

enum { READER_MOST_WARNINGS = 100 };

bool reader_fail(conf_reader_t *r, err_t code, const tree_t *at, const char *fmt, ...)
{
    if (r->code != ERR_OK)
        return false;
    r->code = code;
    r->err->line = at != NULL ? at->line : 0;
    r->err->column = at != NULL ? at->column : 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->err->message, sizeof r->err->message, fmt, ap);
    va_end(ap);
    return false;
}

void reader_warn(conf_reader_t *r, const tree_t *at, const char *fmt, ...)
{
    if (r->warnings_n == READER_MOST_WARNINGS)
        return;
    if (r->warnings == NULL)
        r->warnings = arena_zalloc(r->arena, READER_MOST_WARNINGS * sizeof *r->warnings);
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->warnings[r->warnings_n++] = (conf_warning_t){.line = at != NULL ? at->line : 0,
                                                    .column = at != NULL ? at->column : 0,
                                                    .message = arena_copy(r->arena, span_str(text))};
}

const tree_t *reader_child(const tree_t *node, const char *key)
{
    if (node == NULL || node->kind != TREE_MAP)
        return NULL;
    for (const tree_t *k = node->first; k != NULL; k = k->next)
        if (span_eq(k->text, span_str(key)))
            return k->value;
    return NULL;
}

/* Edit distance with transpositions of neighbours (optimal string alignment): what fingers do. */
static size_t reader_distance(span_t a, span_t b)
{
    enum { MOST = 40 };
    size_t rows[3][MOST + 1];
    if (a.n > MOST || b.n > MOST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = above[j - 1] + (span_lower(a.p[i - 1]) != span_lower(b.p[j - 1]));
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a.n % 3][b.n];
}

static bool reader_unknown(conf_reader_t *r, const conf_section_t *section, const tree_t *key)
{
    const char *nearest = NULL;
    size_t least = key->text.n / 3 + 1;
    for (size_t i = 0; i < section->n; i++) {
        size_t d = reader_distance(key->text, span_str(section->settings[i].key));
        if (d <= least && (nearest == NULL || d < least)) {
            least = d;
            nearest = section->settings[i].key;
        }
    }
    const char *where = section->name[0] != '\0' ? section->name : "the configuration";
    span_t shown = span_upto(key->text, 60);
    if (nearest != NULL)
        return reader_fail(r, ERR_SYNTAX, key, "unknown key `%.*s` in %s: did you mean `%s`?", SPAN_ARG(shown), where,
                           nearest);
    for (size_t i = 0; i < SECTIONS; i++)
        for (size_t j = 0; j < conf_sections[i].n; j++)
            if (span_eq(key->text, span_str(conf_sections[i].settings[j].key)))
                return reader_fail(r, ERR_SYNTAX, key, "unknown key `%.*s` in %s: it belongs %s%s", SPAN_ARG(shown),
                                   where, conf_sections[i].name[0] != '\0' ? "in " : "at the top level",
                                   conf_sections[i].name);
    char keys[320] = "";
    for (size_t i = 0, at = 0; i < section->n && at < sizeof keys; i++)
        at += (size_t)snprintf(keys + at, sizeof keys - at, "%s%s", i > 0 ? ", " : "", section->settings[i].key);
    return reader_fail(r, ERR_SYNTAX, key, "unknown key `%.*s` in %s: the keys are %s", SPAN_ARG(shown), where, keys);
}

static bool reader_match_keys(conf_reader_t *r, const conf_section_t *section, const tree_t *node, const tree_t **found)
{
    for (const tree_t *key = node->first; key != NULL; key = key->next) {
        size_t i = 0;
        while (i < section->n && !span_eq(key->text, span_str(section->settings[i].key)))
            i++;
        if (i == section->n)
            return reader_unknown(r, section, key);
        if (found[i] != NULL)
            return reader_fail(r, ERR_EXISTS, key, "`%s` stands here a second time (first in line %d): keep one",
                               section->settings[i].key, found[i]->line);
        found[i] = key;
    }
    return true;
}

static bool reader_setting(conf_reader_t *r, const conf_section_t *section, const conf_setting_t *s, const tree_t *node,
                           const tree_t *key, char *base)
{
    if (key != NULL) {
        const tree_t *value = key->value;
        if (value->kind == TREE_SCALAR && !value->quoted &&
            (value->text.n == 0 || span_eq(value->text, SPAN("~")) || span_eq(value->text, SPAN("null"))))
            return reader_fail(r, ERR_SYNTAX, key, "`%s` has no value: write one, or take the line out", s->key);
        return kind_readers[s->kind](r, s, value, base);
    }
    if (s->flags & REQUIRED)
        return reader_fail(r, ERR_SYNTAX, node, "%s%s`%s` is missing%s%s", section->name,
                           section->name[0] != '\0' ? ": " : "", s->key, s->doc[0] != '\0' ? ": " : "", s->doc);
    if (s->kind == CONF_KIND_MAP && !(s->flags & OPTIONAL))
        return reader_section(r, &conf_sections[s->child], NULL, base + s->offset);
    kind_unset(s, base);
    if (s->dflt == NULL)
        return true;
    tree_t *value = tree_default(r->scratch, s->dflt);
    return value != NULL ? kind_readers[s->kind](r, s, value, base)
                         : reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

bool reader_section(conf_reader_t *r, const conf_section_t *section, const tree_t *node, char *base)
{
    const tree_t *found[CONF_MAX_SETTINGS] = {NULL};
    if (node != NULL && node->kind != TREE_MAP)
        return reader_fail(r, ERR_SYNTAX, node, "%s must be a mapping (key: value), not %s",
                           section->name[0] != '\0' ? section->name : "the configuration", tree_kind_name(node));
    if (node != NULL && !reader_match_keys(r, section, node, found))
        return false;
    for (size_t i = 0; i < section->n; i++)
        if (!reader_setting(r, section, &section->settings[i], node, found[i], base))
            return false;
    return true;
}
