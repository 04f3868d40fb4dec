/* The forms are LMDB's own (mdb.c, "Page structure", "Node structure", MDB_db, MDB_meta), restated for a machine of 64
 * bits. Every level of a tree is of the kind that its depth says, so damage can't lead in circles. */
#include "edge/warm/tree.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/warm/tree_priv.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

err_t tree_read(const tree_file_t *f, void *to, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        struct iovec v = {.iov_base = (char *)to + done, .iov_len = n - done};
        ssize_t got = f->nowait ? preadv2(f->fd, &v, 1, (off_t)(at + done), RWF_NOWAIT)
                                : preadv(f->fd, &v, 1, (off_t)(at + done));
        if (f->nowait && got != (ssize_t)v.iov_len)
            return ERR_AGAIN; /* also at the end of a file that was cut: whoever may wait finds out */
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ERR_IO;
        if (got == 0)
            return ERR_CORRUPT;
        done += (size_t)got;
    }
    return ERR_OK;
}

static tree_db_t tree_db(const tree_lmdb_db_t *d)
{
    return (tree_db_t){.root = d->root, .entries = d->entries, .depth = d->depth};
}

/* The flags of the list of free pages are the environment's, too; LMDB would take more of them at their word. */
static bool tree_db_sane(const tree_lmdb_db_t *d, uint64_t pages, bool plain)
{
    if (plain ? d->flags != 0 : (d->flags & ~TREE_NO_SUBDIRECTORY) != TREE_INTEGER_KEYS)
        return false;
    return d->root == UINT64_MAX || (d->root >= 2 && d->root < pages && d->depth > 0 && d->depth <= TREE_DEPTH);
}

err_t tree_meta(const tree_file_t *f, tree_meta_t *out)
{
    bool found = false;
    for (unsigned page = 0; page < 2; page++) {
        tree_lmdb_meta_t m;
        err_t e = tree_read(f, &m, sizeof m, page * TREE_PAGE + TREE_HEAD);
        if (e != ERR_OK)
            return e;
        if (m.magic != TREE_LMDB_MAGIC || m.version != 1 || m.dbs[0].pad != TREE_PAGE)
            return ERR_CORRUPT;
        if (found && m.txnid <= out->txnid)
            continue; /* the older one may speak of pages that are no more */
        found = true;
        uint64_t pages = m.last_page + 1;
        if (m.last_page < 1 || m.last_page > (uint64_t)1 << 40 || !tree_db_sane(&m.dbs[0], pages, false) ||
            !tree_db_sane(&m.dbs[1], pages, true))
            return ERR_CORRUPT;
        *out = (tree_meta_t){.txnid = m.txnid, .pages = pages, .free = tree_db(&m.dbs[0]), .main = tree_db(&m.dbs[1])};
    }
    return ERR_OK;
}

/* ---- pages ---- */

unsigned tree_page_keys(const char *page)
{
    return (unsigned)(tree_u16(page, TREE_AT_LOWER) - TREE_HEAD) / 2;
}

err_t tree_page_check(const char *page, uint64_t number, bool leaf)
{
    uint64_t says;
    memcpy(&says, page, sizeof says);
    uint16_t flags = tree_u16(page, TREE_AT_FLAGS), lower = tree_u16(page, TREE_AT_LOWER),
             upper = tree_u16(page, TREE_AT_UPPER);
    if (says != number || flags != (leaf ? TREE_LEAF : TREE_BRANCH) || lower < TREE_HEAD + 2 || lower % 2 != 0 ||
        lower > upper || upper > TREE_PAGE)
        return ERR_CORRUPT;
    return ERR_OK;
}

err_t tree_page_node(const char *page, bool leaf, unsigned i, tree_node_t *out)
{
    uint16_t at = tree_u16(page, TREE_HEAD + 2 * i);
    if (i >= tree_page_keys(page) || at < tree_u16(page, TREE_AT_UPPER) || at + TREE_NODE > TREE_PAGE)
        return ERR_CORRUPT;
    uint64_t lo = tree_u16(page, at), hi = tree_u16(page, at + 2u);
    uint16_t flags = tree_u16(page, at + 4u), key = tree_u16(page, at + 6u);
    size_t end = (size_t)at + TREE_NODE + key;
    if (end > TREE_PAGE)
        return ERR_CORRUPT;
    *out = (tree_node_t){.key = span_of(page + at + TREE_NODE, key), .end = end};
    if (!leaf) {
        out->child = lo | hi << 16 | (uint64_t)flags << 32;
        return ERR_OK;
    }
    out->size = lo | hi << 16;
    out->flags = flags;
    size_t inside = (flags & TREE_BIG) != 0 ? sizeof out->child : out->size;
    if ((flags & ~(TREE_BIG | TREE_SUB)) != 0 || inside > TREE_PAGE - end)
        return ERR_CORRUPT;
    out->end += inside;
    if ((flags & TREE_BIG) != 0)
        memcpy(&out->child, page + end, sizeof out->child);
    else
        out->value = span_of(page + end, out->size);
    return ERR_OK;
}

int tree_compare(span_t a, span_t b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static err_t tree_load(const tree_file_t *f, uint64_t number, bool leaf, char *page)
{
    if (number < 2 || number >= f->pages)
        return ERR_CORRUPT;
    err_t e = tree_read(f, page, TREE_PAGE, number * TREE_PAGE);
    return e != ERR_OK ? e : tree_page_check(page, number, leaf);
}

/* The first node that is not below `key`: n if there is none. In a branch the one before it is asked for, and the first
 * node's key counts as below everything. */
static err_t tree_search(const char *page, bool leaf, span_t key, unsigned *at)
{
    unsigned n = tree_page_keys(page), low = leaf ? 0 : 1, high = n;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        tree_node_t node;
        err_t e = tree_page_node(page, leaf, middle, &node);
        if (e != ERR_OK)
            return e;
        int c = tree_compare(node.key, key);
        if (c < 0 || (!leaf && c == 0))
            low = middle + 1;
        else
            high = middle;
    }
    *at = leaf ? low : low - 1;
    return ERR_OK;
}

/* ---- cursors ---- */

typedef enum tree_way { TREE_TO_KEY, TREE_TO_FIRST, TREE_TO_LAST } tree_way_t;

/* From level `level`, whose page is known, down to a leaf. */
static err_t tree_descend(tree_cursor_t *c, unsigned level, tree_way_t way, span_t key)
{
    for (;; level++) {
        bool leaf = level + 1 == c->depth;
        err_t e = tree_load(c->file, c->path[level].page, leaf, c->page);
        if (e != ERR_OK)
            return e;
        unsigned n = tree_page_keys(c->page), at = way == TREE_TO_LAST ? n - 1 : 0;
        if (way == TREE_TO_KEY && (e = tree_search(c->page, leaf, key, &at)) != ERR_OK)
            return e;
        c->path[level].at = at;
        c->path[level].n = n;
        if (leaf)
            return ERR_OK;
        tree_node_t node;
        if ((e = tree_page_node(c->page, false, at, &node)) != ERR_OK)
            return e;
        c->path[level + 1].page = node.child;
    }
}

static err_t tree_begin(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db)
{
    c->file = f;
    c->depth = db->depth;
    c->path[0].page = db->root;
    if (db->root == UINT64_MAX)
        return ERR_NOT_FOUND;
    return db->depth == 0 || db->depth > TREE_DEPTH ? ERR_CORRUPT : ERR_OK;
}

/* To the first item of the next leaf. */
static err_t tree_cross(tree_cursor_t *c)
{
    for (unsigned level = c->depth - 1; level-- > 0;) {
        if (c->path[level].at + 1 >= c->path[level].n)
            continue;
        err_t e = tree_load(c->file, c->path[level].page, false, c->page);
        tree_node_t node;
        if (e == ERR_OK)
            e = tree_page_node(c->page, false, ++c->path[level].at, &node);
        if (e != ERR_OK)
            return e;
        c->path[level + 1].page = node.child;
        return tree_descend(c, level + 1, TREE_TO_FIRST, SPAN_NONE);
    }
    return ERR_NOT_FOUND;
}

err_t tree_seek(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db, span_t key)
{
    err_t e = tree_begin(c, f, db);
    if (e == ERR_OK)
        e = tree_descend(c, 0, TREE_TO_KEY, key);
    if (e == ERR_OK && c->path[c->depth - 1].at >= c->path[c->depth - 1].n)
        e = tree_cross(c);
    return e;
}

err_t tree_last(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db)
{
    err_t e = tree_begin(c, f, db);
    return e != ERR_OK ? e : tree_descend(c, 0, TREE_TO_LAST, SPAN_NONE);
}

err_t tree_next(tree_cursor_t *c)
{
    if (++c->path[c->depth - 1].at < c->path[c->depth - 1].n)
        return ERR_OK;
    return tree_cross(c);
}

err_t tree_item(const tree_cursor_t *c, tree_item_t *out)
{
    tree_node_t node;
    err_t e = tree_page_node(c->page, true, c->path[c->depth - 1].at, &node);
    if (e == ERR_OK)
        *out = (tree_item_t){.key = node.key, .size = node.size, .value = node.value, .page = node.child};
    return e;
}

err_t tree_find(tree_cursor_t *c, const tree_file_t *f, const tree_db_t *db, span_t key, tree_item_t *out)
{
    err_t e = tree_seek(c, f, db, key);
    if (e == ERR_OK)
        e = tree_item(c, out);
    return e == ERR_OK && !span_eq(out->key, key) ? ERR_NOT_FOUND : e;
}

err_t tree_value(const tree_file_t *f, const tree_item_t *item, void *to, size_t n)
{
    if (n > item->size)
        return ERR_CORRUPT;
    if (item->value.p != NULL) {
        if (n > 0)
            memcpy(to, item->value.p, n);
        return ERR_OK;
    }
    uint64_t pages = (item->size + TREE_HEAD + TREE_PAGE - 1) / TREE_PAGE;
    if (item->page < 2 || item->page >= f->pages || pages > f->pages - item->page)
        return ERR_CORRUPT;
    return tree_read(f, to, n, item->page * TREE_PAGE + TREE_HEAD);
}

err_t tree_named(const tree_file_t *f, const tree_meta_t *m, span_t name, tree_db_t *out)
{
    tree_cursor_t c;
    tree_item_t item;
    tree_lmdb_db_t db;
    err_t e = tree_find(&c, f, &m->main, name, &item);
    if (e != ERR_OK)
        return e;
    if (item.value.p == NULL || item.size != sizeof db)
        return ERR_CORRUPT;
    memcpy(&db, item.value.p, sizeof db);
    if (!tree_db_sane(&db, m->pages, true))
        return ERR_CORRUPT;
    *out = tree_db(&db);
    return ERR_OK;
}
