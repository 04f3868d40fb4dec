/* The forms of LMDB's pages, for tree.c and tree_check.c. */
#ifndef BRINK_WARM_TREE_PRIV_H
#define BRINK_WARM_TREE_PRIV_H

#include "edge/warm/tree.h"

#define TREE_LMDB_MAGIC 0xBEEFC0DEu

enum {
    TREE_BRANCH = 0x01,
    TREE_LEAF = 0x02,
    TREE_OVERFLOW = 0x04,
    TREE_BIG = 0x01,               /* of a node: the value is on pages of its own */
    TREE_SUB = 0x02,               /* of a node: the value is a database */
    TREE_NODE = 8,                 /* a node's head */
    TREE_INTEGER_KEYS = 0x08,      /* of a database: MDB_INTEGERKEY */
    TREE_NO_SUBDIRECTORY = 0x4000, /* MDB_NOSUBDIR, which is stored with it */
    TREE_AT_FLAGS = 10,
    TREE_AT_LOWER = 12, /* end of the table of nodes; of an overflow page: how many there are, 4 bytes */
    TREE_AT_UPPER = 14  /* beginning of the nodes */
};

typedef struct tree_lmdb_db {
    uint32_t pad; /* of the first: the page size */
    uint16_t flags, depth;
    uint64_t branch, leaf, overflow, entries, root;
} tree_lmdb_db_t;

typedef struct tree_lmdb_meta {
    uint32_t magic, version;
    uint64_t address, mapsize;
    tree_lmdb_db_t dbs[2];
    uint64_t last_page, txnid;
} tree_lmdb_meta_t;

typedef struct tree_node {
    span_t key, value;
    uint64_t size, child; /* child: page of the next level, or of the large value */
    uint16_t flags;
    size_t end; /* offset behind it */
} tree_node_t;

static inline uint16_t tree_u16(const char *page, size_t at)
{
    uint16_t v;
    memcpy(&v, page + at, sizeof v);
    return v;
}

unsigned tree_page_keys(const char *page);
err_t tree_page_check(const char *page, uint64_t number, bool leaf);
err_t tree_page_node(const char *page, bool leaf, unsigned i, tree_node_t *out);
int tree_compare(span_t a, span_t b);

#endif
