/* Before LMDB writes in a file that an earlier process left, everything that it could follow is looked at: each page is
 * of its kind and used once, nodes lie within their page without overlap, keys ascend, and the list of free pages names
 * only pages that are free. LMDB copies pages by lengths that it finds in them, so writing with a damaged one could
 * overwrite memory; reading is tree.c's and can't. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/warm/tree_priv.h"

typedef struct tree_walk {
    const tree_file_t *f;
    uint8_t *used; /* a bit a page */
    uint64_t entries;
    bool is_free_list, is_main, is_first;
    char last[TREE_PAGE]; /* the last key */
    size_t last_n;
} tree_walk_t;

static err_t tree_use(tree_walk_t *w, uint64_t first, uint64_t n)
{
    if (first < 2 || first >= w->f->pages || n > w->f->pages - first)
        return ERR_CORRUPT;
    for (uint64_t p = first; p < first + n; p++) {
        if ((w->used[p / 8] >> p % 8 & 1) != 0)
            return ERR_CORRUPT;
        w->used[p / 8] |= (uint8_t)(1u << p % 8);
    }
    return ERR_OK;
}

/* A value of the list of free pages: a count, then page numbers, falling. */
static err_t tree_check_free(tree_walk_t *w, const tree_node_t *node)
{
    tree_item_t item = {.size = node->size, .value = node->value, .page = node->child};
    if (node->size < 8 || node->size % 8 != 0 || node->size > w->f->pages * 8 + 8)
        return ERR_CORRUPT;
    uint64_t *list = mem_alloc(node->size), n = node->size / 8 - 1, before = UINT64_MAX;
    err_t e = tree_value(w->f, &item, list, node->size);
    if (e == ERR_OK && list[0] > n)
        e = ERR_CORRUPT;
    for (uint64_t i = 1; e == ERR_OK && i <= list[0]; i++) {
        e = list[i] < before ? tree_use(w, list[i], 1) : ERR_CORRUPT;
        before = list[i];
    }
    free(list);
    return e;
}

static err_t tree_check_large(tree_walk_t *w, const tree_node_t *node)
{
    char head[TREE_HEAD];
    uint64_t says, pages = (node->size + TREE_HEAD + TREE_PAGE - 1) / TREE_PAGE;
    uint32_t count;
    err_t e = tree_use(w, node->child, pages);
    if (e == ERR_OK)
        e = tree_read(w->f, head, sizeof head, node->child * TREE_PAGE);
    if (e != ERR_OK)
        return e;
    memcpy(&says, head, sizeof says);
    memcpy(&count, head + TREE_AT_LOWER, sizeof count);
    return says == node->child && tree_u16(head, TREE_AT_FLAGS) == TREE_OVERFLOW && count == pages ? ERR_OK
                                                                                                   : ERR_CORRUPT;
}

static err_t tree_check_order(tree_walk_t *w, span_t key)
{
    uint64_t number[2] = {0, 0}; /* keys of the free list are numbers in the machine's order */
    if (w->is_free_list) {
        if (key.n != 8 || (!w->is_first && w->last_n != 8))
            return ERR_CORRUPT;
        memcpy(&number[0], w->last, 8);
        memcpy(&number[1], key.p, 8);
    }
    bool right =
        w->is_first || (w->is_free_list ? number[0] < number[1] : tree_compare(span_of(w->last, w->last_n), key) < 0);
    w->is_first = false;
    w->last_n = key.n;
    memcpy(w->last, key.p, key.n);
    return right ? ERR_OK : ERR_CORRUPT;
}

static err_t tree_check_node(tree_walk_t *w, const tree_node_t *node)
{
    if (node->key.n == 0 || node->key.n > 511 || ((node->flags & TREE_SUB) != 0) != w->is_main)
        return ERR_CORRUPT;
    err_t e = tree_check_order(w, node->key);
    if (e == ERR_OK && (node->flags & TREE_BIG) != 0)
        e = tree_check_large(w, node);
    if (e == ERR_OK && w->is_free_list)
        e = tree_check_free(w, node);
    w->entries++;
    return e;
}

/* Nodes fill the page from `upper` to its end: their lengths must add up, else two of them share bytes. */
static err_t tree_check_nodes(const char *page, bool leaf)
{
    size_t total = 0;
    for (unsigned i = 0; i < tree_page_keys(page); i++) {
        tree_node_t node;
        err_t e = tree_page_node(page, leaf, i, &node);
        if (e != ERR_OK)
            return e;
        total += (node.end - tree_u16(page, TREE_HEAD + 2 * i) + 1) / 2 * 2;
    }
    return total == TREE_PAGE - (size_t)tree_u16(page, TREE_AT_UPPER) ? ERR_OK : ERR_CORRUPT;
}

static err_t tree_check_page(tree_walk_t *w, uint64_t number, unsigned levels)
{
    char page[TREE_PAGE];
    bool leaf = levels == 1;
    err_t e = tree_use(w, number, 1);
    if (e == ERR_OK)
        e = tree_read(w->f, page, sizeof page, number * TREE_PAGE);
    if (e == ERR_OK)
        e = tree_page_check(page, number, leaf);
    if (e == ERR_OK)
        e = tree_check_nodes(page, leaf);
    for (unsigned i = 0; e == ERR_OK && i < tree_page_keys(page); i++) {
        tree_node_t node;
        if ((e = tree_page_node(page, leaf, i, &node)) != ERR_OK)
            break;
        e = leaf ? tree_check_node(w, &node) : tree_check_page(w, node.child, levels - 1);
    }
    return e;
}

static err_t tree_check_db(tree_walk_t *w, const tree_db_t *db)
{
    w->entries = 0;
    w->is_first = true;
    if (db->root == UINT64_MAX)
        return db->entries == 0 ? ERR_OK : ERR_CORRUPT;
    err_t e = tree_check_page(w, db->root, db->depth);
    return e == ERR_OK && w->entries != db->entries ? ERR_CORRUPT : e;
}

err_t tree_check_path(const tree_file_t *f, const tree_db_t *db, span_t key)
{
    tree_cursor_t c;
    if (db->root == UINT64_MAX)
        return ERR_OK;
    err_t e = key.p != NULL ? tree_seek(&c, f, db, key) : tree_last(&c, f, db);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    e = ERR_OK;
    for (unsigned level = 0; level < c.depth && e == ERR_OK; level++) {
        bool leaf = level + 1 == c.depth;
        e = tree_read(f, c.page, TREE_PAGE, c.path[level].page * TREE_PAGE);
        if (e == ERR_OK && (e = tree_page_check(c.page, c.path[level].page, leaf)) == ERR_OK)
            e = tree_check_nodes(c.page, leaf);
    }
    return e;
}

static err_t tree_check_main(tree_walk_t *w, const tree_meta_t *m)
{
    w->is_main = true;
    err_t e = tree_check_db(w, &m->main);
    w->is_main = false;
    return e;
}

static err_t tree_check_free_list(tree_walk_t *w, const tree_meta_t *m)
{
    w->is_free_list = true;
    err_t e = tree_check_db(w, &m->free);
    w->is_free_list = false;
    return e;
}

err_t tree_check_roots(const tree_file_t *f, const tree_meta_t *m)
{
    tree_walk_t w = {.f = f, .used = mem_zalloc((size_t)(f->pages / 8 + 1))};
    err_t e = tree_check_main(&w, m);
    if (e == ERR_OK)
        e = tree_check_free_list(&w, m);
    free(w.used);
    return e;
}

err_t tree_check(const tree_file_t *f, const tree_meta_t *m)
{
    tree_walk_t w = {.f = f, .used = mem_zalloc((size_t)(f->pages / 8 + 1))};
    err_t e = tree_check_main(&w, m);
    static const span_t names[] = {SPAN("d"), SPAN("i"), SPAN("m")};
    for (size_t k = 0; k < sizeof names / sizeof *names && e == ERR_OK; k++) {
        tree_db_t db;
        if ((e = tree_named(f, m, names[k], &db)) == ERR_OK)
            e = tree_check_db(&w, &db);
    }
    if (e == ERR_OK)
        e = tree_check_free_list(&w, m);
    free(w.used);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}
