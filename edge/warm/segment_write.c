/* LMDB's part: an environment as an append-only file. No WRITEMAP (a stray pointer could then write into the file), no
 * locks (one thread of one process writes, and the tier's own lock keeps others out), no sync until the segment is
 * sealed.
 *
 * LMDB copies tree pages by lengths that it finds in them, so a page that the disk gave back damaged would make it
 * write over memory. Therefore the pages that a call is about to follow are looked at before (tree_check_…), and every
 * call is guarded besides: a fault makes the segment damaged, and LMDB is not called for it again. Nothing is ever
 * deleted from a tree, so LMDB never merges pages that nobody looked at. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/warm/guard.h"
#include "edge/warm/segment_priv.h"

/* From this size on LMDB gives a value pages of its own: me_nodemax for pages of 4 KiB. */
enum { SEGMENT_NODE_MOST = 2038, SEGMENT_NODE_HEAD = 8 };

static err_t segment_err(segment_t *s, int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return ERR_OK;
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return ERR_TOO_BIG;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case GUARD_FAULT:
        guard_bury(s->env);
        s->env = NULL;
        s->txn = NULL;
        return ERR_CORRUPT;
    default:
        if (rc < 0)
            return ERR_CORRUPT;
        errno = rc;
        return ERR_IO;
    }
}

static MDB_val segment_val(const void *p, size_t n)
{
    return (MDB_val){.mv_size = n, .mv_data = (void *)(uintptr_t)p};
}

static err_t segment_put(segment_t *s, MDB_dbi dbi, MDB_val k, MDB_val *v, unsigned flags)
{
    int rc;
    if (s->txn == NULL)
        return ERR_CORRUPT; /* a fault ended it */
    GUARD(rc, mdb_put(s->txn, dbi, &k, v, flags));
    return segment_err(s, rc);
}

/* ---- the environment ---- */

static int segment_env_open(segment_t *s, uint64_t map)
{
    mdb_env_set_maxdbs(s->env, SEGMENT_DBS);
    mdb_env_set_mapsize(s->env, map);
    mdb_env_set_assert(s->env, guard_assert);
    return mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NORDAHEAD | MDB_NOSYNC, 0600);
}

static int segment_handles(segment_t *s, unsigned flags)
{
    int rc = mdb_dbi_open(s->txn, "i", flags, &s->i);
    rc = rc != 0 ? rc : mdb_dbi_open(s->txn, "d", flags, &s->d);
    return rc != 0 ? rc : mdb_dbi_open(s->txn, "m", flags, &s->m);
}

/* Opens the environment and the handles in a transaction that goes on. */
static err_t segment_env(segment_t *s, uint64_t map, unsigned flags)
{
    guard_install();
    int rc = mdb_env_create(&s->env);
    if (rc != 0) {
        s->env = NULL;
        return segment_err(s, rc);
    }
    GUARD(rc, segment_env_open(s, map));
    err_t e = segment_err(s, rc);
    if (e == ERR_OK && (e = segment_begin(s)) == ERR_OK) {
        GUARD(rc, segment_handles(s, flags));
        e = segment_err(s, rc);
    }
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

void segment_finish(segment_t *s)
{
    int rc = 0;
    if (s->txn != NULL)
        segment_abort(s);
    if (s->env != NULL)
        GUARD(rc, (mdb_env_close(s->env), 0));
    if (rc != 0)
        (void)segment_err(s, rc);
    s->env = NULL;
}

static err_t segment_put_number(segment_t *s, const char *name, uint64_t number)
{
    MDB_val v = segment_val(&number, sizeof number);
    return segment_put(s, s->m, segment_val(name, strlen(name)), &v, 0);
}

err_t segment_create(const char *directory, uint64_t number, uint64_t map, uint64_t epoch, uint64_t first_id,
                     segment_t **out)
{
    char *path, *opened; /* .begin until it can be read: whoever is killed before leaves nothing that looks damaged */
    CHECK(asprintf(&path, "%s/%016llx.begin", directory, (unsigned long long)number) > 0);
    CHECK(asprintf(&opened, "%s/%016llx.open", directory, (unsigned long long)number) > 0);
    segment_t *s = segment_new(path, number, epoch);
    char *marks = segment_marks_path(path);
    unlink(marks); /* of an earlier segment of that number */
    free(marks);
    s->first_id = s->next_id = first_id;
    s->filtered = true;
    filter_set_init(&s->set);
    err_t e = segment_env(s, map, MDB_CREATE);
    if (e == ERR_OK && (s->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        e = ERR_IO;
    e = e != ERR_OK ? e : segment_put_number(s, "form", SEGMENT_FORM);
    e = e != ERR_OK ? e : segment_put_number(s, "epoch", epoch);
    e = e != ERR_OK ? e : segment_put_number(s, "first", first_id);
    if (e == ERR_OK)
        e = segment_commit(s);
    if (e == ERR_OK && rename(path, opened) != 0)
        e = ERR_IO;
    if (e != ERR_OK) {
        int saved = errno;
        free(opened);
        segment_finish(s);
        segment_unlink(s);
        segment_close(s);
        errno = saved;
        return e;
    }
    free(s->path);
    s->path = opened;
    *out = s;
    return ERR_OK;
}

err_t segment_continue(segment_t *s, uint64_t map)
{
    tree_file_t f = {.fd = s->fd};
    tree_meta_t m;
    err_t e = tree_meta(&f, &m);
    if (e != ERR_OK)
        return e;
    f.pages = m.pages;
    if ((e = tree_check(&f, &m)) != ERR_OK)
        return e;
    if (m.pages * TREE_PAGE * 2 > map)
        map = m.pages * TREE_PAGE * 2; /* it was made under another configuration */
    if ((e = segment_env(s, map, 0)) == ERR_OK)
        e = segment_commit(s); /* not aborted: that would close the handles */
    if (e != ERR_OK)
        segment_finish(s);
    return e;
}

/* ---- transactions ---- */

static tree_file_t segment_committed(const segment_t *s)
{
    return (tree_file_t){.fd = s->fd, .pages = s->view.pages}; /* only this thread changes the view */
}

/* Every transaction follows these pages. */
static err_t segment_check_roots(segment_t *s)
{
    tree_file_t f = segment_committed(s);
    tree_meta_t m;
    err_t e = tree_meta(&f, &m);
    if (e == ERR_OK && (m.txnid != s->view.txnid || m.pages != f.pages))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = tree_check_roots(&f, &m);
    return e != ERR_OK ? e : tree_check_path(&f, &s->view.d, SPAN_NONE);
}

err_t segment_begin(segment_t *s)
{
    int rc;
    if (s->env == NULL)
        return ERR_CORRUPT;
    CHECK(s->txn == NULL);
    s->txn_bytes = 0;
    err_t e = s->view.pages > 0 ? segment_check_roots(s) : ERR_OK;
    if (e != ERR_OK)
        return e;
    GUARD(rc, mdb_txn_begin(s->env, NULL, 0, &s->txn));
    if (rc != 0)
        s->txn = NULL;
    return segment_err(s, rc);
}

err_t segment_commit(segment_t *s)
{
    int rc;
    if (s->txn == NULL)
        return ERR_CORRUPT;
    GUARD(rc, mdb_txn_commit(s->txn));
    err_t e = segment_err(s, rc);
    int saved = errno;
    s->txn = NULL;
    s->txn_bytes = 0;
    if (e == ERR_OK && (e = segment_publish(s)) == ERR_OK) {
        uint64_t entries = s->view.i.entries;
        atomic_store_explicit(&s->objects, entries - (s->tombstones < entries ? s->tombstones : entries),
                              memory_order_relaxed);
    }
    segment_measure(s);
    errno = saved;
    return e;
}

void segment_abort(segment_t *s)
{
    int rc = 0;
    if (s->txn != NULL)
        GUARD(rc, (mdb_txn_abort(s->txn), 0));
    if (rc != 0)
        (void)segment_err(s, rc);
    s->txn = NULL;
    s->txn_bytes = 0;
}

err_t segment_sync(segment_t *s)
{
    int rc;
    if (s->env == NULL)
        return ERR_CORRUPT;
    GUARD(rc, mdb_env_sync(s->env, 1));
    return segment_err(s, rc);
}

uint64_t segment_used(const segment_t *s)
{
    return s->view.pages * TREE_PAGE + s->txn_bytes; /* only this thread changes the view */
}

/* ---- what is written ---- */

err_t segment_write_chunk(segment_t *s, uint64_t id, uint32_t number, size_t n, char **chunk, uint64_t *page)
{
    CHECK(n <= RECORD_PAYLOAD);
    segment_chunk_key_t key = segment_chunk_key(id, number);
    MDB_val v = segment_val(NULL, n + SEGMENT_SUM);
    err_t e = segment_put(s, s->d, segment_val(&key, sizeof key), &v, MDB_APPEND | MDB_RESERVE);
    if (e != ERR_OK)
        return e;
    s->txn_bytes += segment_cost(n);
    *chunk = v.mv_data;
    *page = 0;
    if (SEGMENT_NODE_HEAD + sizeof key + n + SEGMENT_SUM > SEGMENT_NODE_MOST)
        memcpy(page, *chunk - TREE_HEAD, sizeof *page); /* a page begins with its number */
    return ERR_OK;
}

void segment_chunk_done(char *chunk, uint64_t id, uint32_t number, size_t n)
{
    uint64_t sum = record_sum(span_of(chunk + SEGMENT_SUM, n), id, number);
    memcpy(chunk, &sum, sizeof sum);
}

err_t segment_write_index(segment_t *s, digest_t digest, const segment_entry_t *entry)
{
    segment_index_key_t key = segment_index_key(digest, entry->variant);
    segment_index_value_t value = {.id = entry->id, .stream = entry->stream, .page = entry->page};
    segment_entry_t old;
    tree_file_t f = segment_committed(s);
    err_t e = tree_check_path(&f, &s->view.i, span_of((const char *)&key, sizeof key));
    if (e != ERR_OK)
        return e;
    e = segment_pending(s, digest, entry->variant, &old);
    bool was = e == ERR_OK && old.id == 0;
    MDB_val v = segment_val(&value, sizeof value);
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = segment_put(s, s->i, segment_val(&key, sizeof key), &v, 0);
    if (e == ERR_OK)
        s->tombstones += (uint64_t)(entry->id == 0) - (uint64_t)was;
    return e;
}

err_t segment_pending(segment_t *s, digest_t digest, uint64_t variant, segment_entry_t *out)
{
    segment_index_key_t key = segment_index_key(digest, variant);
    MDB_val k = segment_val(&key, sizeof key), v;
    int rc;
    if (s->txn == NULL)
        return ERR_CORRUPT;
    GUARD(rc, mdb_get(s->txn, s->i, &k, &v));
    err_t e = segment_err(s, rc);
    return e != ERR_OK
               ? e
               : segment_index_entry(span_of((const char *)&key, sizeof key), span_of(v.mv_data, v.mv_size), out);
}

static int segment_range(segment_t *s, MDB_val *k, MDB_val *v)
{
    MDB_cursor *c;
    int rc = mdb_cursor_open(s->txn, s->i, &c);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
    mdb_cursor_close(c);
    return rc;
}

err_t segment_pending_next(segment_t *s, digest_t digest, uint64_t variant, segment_entry_t *out)
{
    segment_index_key_t key = segment_index_key(digest, variant);
    MDB_val k = segment_val(&key, sizeof key), v;
    int rc;
    if (s->txn == NULL)
        return ERR_CORRUPT;
    GUARD(rc, segment_range(s, &k, &v));
    err_t e = segment_err(s, rc);
    if (e == ERR_OK && (k.mv_size != sizeof key || memcmp(k.mv_data, &key, sizeof(digest_t)) != 0))
        e = ERR_NOT_FOUND;
    return e != ERR_OK ? e : segment_index_entry(span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), out);
}

/* ---- sealing ---- */

static err_t segment_sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = mem_dup(path, (size_t)(slash - path));
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    if (fd < 0)
        return ERR_IO;
    int rc = fsync(fd);
    close(fd);
    return rc == 0 ? ERR_OK : ERR_IO;
}

static err_t segment_store_filter(segment_t *s, const filter_bloom_t *made)
{
    span_t bytes = filter_bloom_bytes(made);
    uint64_t sum = XXH3_64bits(bytes.p, bytes.n);
    MDB_val v = segment_val(NULL, bytes.n + SEGMENT_SUM);
    err_t e = segment_begin(s);
    e = e != ERR_OK ? e : segment_put_number(s, "erased", s->tombstones);
    e = e != ERR_OK ? e : segment_put(s, s->m, segment_val("filter", 6), &v, MDB_RESERVE);
    if (e != ERR_OK) {
        segment_abort(s);
        return e;
    }
    memcpy(v.mv_data, &sum, SEGMENT_SUM);
    memcpy((char *)v.mv_data + SEGMENT_SUM, bytes.p, bytes.n);
    return segment_commit(s);
}

err_t segment_seal(segment_t *s, filter_bloom_t *bloom)
{
    CHECK(!s->sealed && s->txn == NULL);
    *bloom = (filter_bloom_t){0};
    filter_bloom_t made = filter_bloom_make(&s->set);
    err_t e = segment_store_filter(s, &made);
    e = e != ERR_OK ? e : segment_sync(s);
    segment_finish(s);
    if (e == ERR_OK) {
        char *path = mem_dup(s->path, strlen(s->path));
        memcpy(strrchr(path, '.'), ".seal", 5); /* as long as ".open" */
        if (rename(s->path, path) == 0) {
            free(s->path);
            s->path = path;
            e = segment_sync_directory(path);
        } else {
            free(path);
            e = ERR_IO;
        }
    }
    if (e != ERR_OK) {
        filter_bloom_release(&made);
        return e;
    }
    *bloom = made;
    segment_measure(s);
    return ERR_OK;
}
