/* LMDB's trees, read from the file without LMDB. LMDB believes its file: a damaged page makes it follow wild pointers,
 * fail an assertion, or touch a page that isn't there, and it reads by page faults, which wait for the disk wherever
 * they happen. Here every page is a copy, everything in it is checked before it is followed, and a read may be told not
 * to wait (`nowait`: then ERR_AGAIN says that something isn't in the page cache).
 *
 * Only what this folder's environments contain: no duplicates, keys up to TREE_KEY bytes. The format is that of data
 * version 1 (LMDB 0.9). Any thread; a cursor belongs to one. Errors: ERR_CORRUPT, ERR_IO (errno is set), ERR_AGAIN. */
#ifndef BRINK_WARM_TREE_H
#define BRINK_WARM_TREE_H

#include "edge/base/err.h"
#include "edge/base/span.h"

enum { TREE_PAGE = 4096, TREE_HEAD = 16 /* of a page; a large value begins behind it */, TREE_DEPTH = 12 };

typedef struct tree_file {
    int fd;
    uint64_t pages; /* of the snapshot; nothing behind them is looked at */
    bool nowait;
} tree_file_t;

typedef struct tree_db {
    uint64_t root, entries; /* root UINT64_MAX: empty */
    unsigned depth;
} tree_db_t;

/* What the newer of the two meta pages says. */
typedef struct tree_meta {
    uint64_t txnid, pages;
    tree_db_t free, main;
} tree_meta_t;

typedef struct tree_cursor {
    const tree_file_t *file;
    unsigned depth;
    struct {
        uint64_t page;
        unsigned at, n;
    } path[TREE_DEPTH];
    char page[TREE_PAGE]; /* the leaf */
} tree_cursor_t;

typedef struct tree_item {
    span_t key;    /* in the cursor's page */
    uint64_t size; /* of the value */
    span_t value;  /* in the cursor's page; .p NULL: on pages of its own */
    uint64_t page; /* the first of these */
} tree_item_t;

/* Exactly n bytes of file at an offset. */
err_t tree_read(const tree_file_t *f, void *to, size_t n, uint64_t at);
/* f->pages isn't looked at. */
err_t tree_meta(const tree_file_t *f, tree_meta_t *out);
/* A database by its name in the main one: ERR_NOT_FOUND. */
err_t tree_named(const tree_file_t *f, const tree_meta_t *m, span_t name, tree_db_t *out);
/* To the first item whose key is not below `key`; ERR_NOT_FOUND: there is none. */
err_t tree_seek(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db, span_t key);
err_t tree_last(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db);
err_t tree_next(tree_cursor_t *c); /* ERR_NOT_FOUND: that was the last */
err_t tree_item(const tree_cursor_t *c, tree_item_t *out);
/* The item of exactly that key. */
err_t tree_find(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db, span_t key, tree_item_t *out);
/* The first n bytes of an item's value. */
err_t tree_value(const tree_file_t *f, const tree_item_t *item, void *to, size_t n);

/* Looks at every page of the trees: LMDB may write on in this file without walking into damage. Waits for the disk. */
err_t tree_check(const tree_file_t *f, const tree_meta_t *m);
/* The same of what every commit touches: the main database and the list of free pages. */
err_t tree_check_roots(const tree_file_t *f, const tree_meta_t *m);
/* The same of the pages that lead to a key (.p NULL: to the end). */
err_t tree_check_path(const tree_file_t *f, const tree_db_t *db, span_t key);

#endif
