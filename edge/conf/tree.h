/* A YAML document as a tree of scalars, lists and mappings with their places. Pure.
 * What configuration doesn't need is refused with its place: anchors and aliases (they can grow without bound, and hide
 * what is in force), tags, several documents, keys that are no scalars, control characters. */
#ifndef BRINK_CONF_TREE_H
#define BRINK_CONF_TREE_H

#include "edge/conf/conf.h"
#include "edge/base/arena.h"

typedef enum tree_kind { TREE_SCALAR, TREE_LIST, TREE_MAP } tree_kind_t;

typedef struct tree {
    tree_kind_t kind;
    bool quoted;        /* a scalar in quotes: "" and "null" are then meant */
    int line, column;   /* from 1; 0: a default, it stands nowhere */
    span_t text;        /* TREE_SCALAR */
    struct tree *first; /* TREE_LIST: elements; TREE_MAP: keys */
    struct tree *next;  /* among its siblings */
    struct tree *value; /* of a key */
    size_t n;           /* elements or keys */
} tree_t;

/* The tree lives in the arena. On failure line, column and message of `err` are set. */
err_t tree_parse(arena_t *a, span_t bytes, tree_t **out, conf_error_t *err);
/* A default as written in config.def: a scalar, or "[a, b]". */
tree_t *tree_default(arena_t *a, const char *text);
const char *tree_kind_name(const tree_t *t); /* "a mapping", … */

#endif
