/* An LMDB environment as an append-only file. No WRITEMAP (a stray pointer could then write into the file), no sync
 * until the segment is sealed: a process that is killed loses nothing that was committed, since pages are in the kernel
 * by then; a machine that loses power may leave an unsealed file in any state, which is why the tier deletes those
 * unopened after a reboot.
 *
 * LMDB believes its file. What can be checked cheaply before it maps it is checked here: the two meta pages, and that
 * the file is as long as the newer of them says. */
#include "edge/warm/segment.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { SEGMENT_FORM = 1, SEGMENT_PAGE = 4096, SEGMENT_READERS = 126, SEGMENT_DBS = 3, SEGMENT_META_AT = 16 };

/* The part of LMDB's meta page that has been the same since version 0.9.0 (data version 1). */
typedef struct segment_lmdb_db {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branch, leaf, overflow, entries, root;
} segment_lmdb_db_t;
typedef struct segment_lmdb_meta {
    uint32_t magic, version;
    uint64_t address, mapsize;
    segment_lmdb_db_t dbs[2];
    uint64_t last_page, txnid;
} segment_lmdb_meta_t;
#define SEGMENT_LMDB_MAGIC 0xBEEFC0DEu

typedef struct segment_index_key {
    uint64_t hi, lo, variant;
} segment_index_key_t;
typedef struct segment_chunk_key {
    uint64_t id;
    uint32_t number;
} __attribute__((packed)) segment_chunk_key_t;
typedef struct segment_index_value {
    uint64_t id, stream;
} segment_index_value_t;

static err_t segment_err(int rc)
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
    case MDB_READERS_FULL:
        return ERR_AGAIN;
    default:
        if (rc < 0)
            return ERR_CORRUPT;
        errno = rc;
        return ERR_IO;
    }
}

uint64_t segment_cost(uint64_t stream)
{
    /* A value that isn't small has pages of its own; an index entry takes 60 bytes, in leaves that are two thirds full.
     */
    uint64_t whole = stream / RECORD_PAYLOAD * (RECORD_CHUNK + 16), rest = stream % RECORD_PAYLOAD;
    uint64_t tail = rest + 8 > SEGMENT_PAGE / 2 - 64 ? (rest + 8 + 16 + SEGMENT_PAGE - 1) / SEGMENT_PAGE * SEGMENT_PAGE
                                                     : (rest + 8 + 24) * 3 / 2;
    return whole + (rest > 0 ? tail : 0) + 128 + record_chunks(stream) * 64;
}

static err_t segment_validate(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    err_t e = ERR_CORRUPT;
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < 2 * SEGMENT_PAGE)
        goto out;
    uint64_t pages = (uint64_t)st.st_size / SEGMENT_PAGE, newest = 0;
    for (int page = 0; page < 2; page++) {
        segment_lmdb_meta_t m;
        if (pread(fd, &m, sizeof m, page * SEGMENT_PAGE + SEGMENT_META_AT) != (ssize_t)sizeof m)
            goto out;
        if (m.magic != SEGMENT_LMDB_MAGIC || m.version != 1 || (page == 0 && m.dbs[0].pad != SEGMENT_PAGE) ||
            m.mapsize / SEGMENT_PAGE < m.last_page)
            goto out;
        if (page > 0 && m.txnid < newest)
            continue; /* LMDB takes the newer one; the older may be about pages that are no more */
        newest = m.txnid;
        e = m.last_page < pages ? ERR_OK : ERR_CORRUPT;
        for (int k = 0; k < 2; k++)
            if (m.dbs[k].root != UINT64_MAX && m.dbs[k].root > m.last_page)
                e = ERR_CORRUPT;
    }
out:
    close(fd);
    return e;
}

static MDB_val segment_val(const void *p, size_t n)
{
    return (MDB_val){.mv_size = n, .mv_data = (void *)(uintptr_t)p};
}

static void segment_close(segment_t *s)
{
    if (s->env != NULL)
        mdb_env_close(s->env);
    filter_set_release(&s->set);
    filter_bloom_release(&s->bloom);
    free((void *)s->hit);
    free(s->path);
    free(s->lock_path);
    free(s);
}

segment_t *segment_ref(segment_t *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment_unref(segment_t *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        segment_close(s);
}

void segment_unlink(segment_t *s)
{
    unlink(s->path);
    unlink(s->lock_path);
}

static err_t segment_env(segment_t *s, uint64_t map, bool synced)
{
    int rc = mdb_env_create(&s->env);
    if (rc != 0) {
        s->env = NULL;
        return segment_err(rc);
    }
    mdb_env_set_maxdbs(s->env, SEGMENT_DBS);
    mdb_env_set_maxreaders(s->env, SEGMENT_READERS);
    mdb_env_set_mapsize(s->env, map);
    rc = mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (synced ? 0 : MDB_NOSYNC), 0600);
    return segment_err(rc);
}

static err_t segment_get_number(segment_t *s, MDB_txn *txn, const char *name, uint64_t *out)
{
    MDB_val k = segment_val(name, strlen(name)), v;
    err_t e = segment_err(mdb_get(txn, s->m, &k, &v));
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    if (v.mv_size != sizeof *out)
        return ERR_CORRUPT;
    memcpy(out, v.mv_data, sizeof *out);
    return ERR_OK;
}

static err_t segment_put_number(segment_t *s, const char *name, uint64_t number)
{
    MDB_val k = segment_val(name, strlen(name)), v = segment_val(&number, sizeof number);
    return segment_err(mdb_put(s->txn, s->m, &k, &v, 0));
}

static segment_t *segment_new(char *path, uint64_t number)
{
    segment_t *s = mem_zalloc(sizeof *s);
    atomic_init(&s->refs, 1);
    s->number = number;
    s->path = path;
    CHECK(asprintf(&s->lock_path, "%s-lock", path) > 0);
    return s;
}

static void segment_measure(segment_t *s)
{
    struct stat st, lock;
    uint64_t bytes = stat(s->path, &st) == 0 ? (uint64_t)st.st_size : 0;
    bytes += stat(s->lock_path, &lock) == 0 ? (uint64_t)lock.st_size : 0;
    atomic_store_explicit(&s->bytes, bytes, memory_order_relaxed);
}

err_t segment_create(const char *directory, uint64_t number, uint64_t map, uint64_t epoch, uint64_t first_id,
                     segment_t **out)
{
    char *path;
    CHECK(asprintf(&path, "%s/%016llx.open", directory, (unsigned long long)number) > 0);
    segment_t *s = segment_new(path, number);
    s->first_id = s->next_id = first_id;
    s->filtered = true;
    filter_set_init(&s->set);
    err_t e = segment_env(s, map, false);
    if (e == ERR_OK)
        e = segment_begin(s);
    if (e == ERR_OK) {
        int rc = mdb_dbi_open(s->txn, "i", MDB_CREATE, &s->i);
        rc = rc != 0 ? rc : mdb_dbi_open(s->txn, "d", MDB_CREATE, &s->d);
        rc = rc != 0 ? rc : mdb_dbi_open(s->txn, "m", MDB_CREATE, &s->m);
        e = segment_err(rc);
        e = e != ERR_OK ? e : segment_put_number(s, "form", SEGMENT_FORM);
        e = e != ERR_OK ? e : segment_put_number(s, "epoch", epoch);
        e = e != ERR_OK ? e : segment_put_number(s, "first", first_id);
        if (e == ERR_OK)
            e = segment_commit(s);
        else
            segment_abort(s);
    }
    if (e != ERR_OK) {
        int saved = errno;
        segment_unlink(s);
        segment_close(s);
        errno = saved;
        return e;
    }
    *out = s;
    return ERR_OK;
}

static err_t segment_recognise(segment_t *s, MDB_txn *txn, uint64_t epoch)
{
    int rc = mdb_dbi_open(txn, "i", 0, &s->i);
    rc = rc != 0 ? rc : mdb_dbi_open(txn, "d", 0, &s->d);
    rc = rc != 0 ? rc : mdb_dbi_open(txn, "m", 0, &s->m);
    err_t e = segment_err(rc);
    uint64_t form = 0, written = 0;
    e = e != ERR_OK ? e : segment_get_number(s, txn, "form", &form);
    e = e != ERR_OK ? e : segment_get_number(s, txn, "epoch", &written);
    e = e != ERR_OK ? e : segment_get_number(s, txn, "first", &s->first_id);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    if (form != SEGMENT_FORM)
        return ERR_CORRUPT;
    if (written != epoch)
        return ERR_REFUSED;
    MDB_cursor *c;
    if ((e = segment_err(mdb_cursor_open(txn, s->d, &c))) != ERR_OK)
        return e;
    MDB_val k, v;
    e = segment_err(mdb_cursor_get(c, &k, &v, MDB_LAST));
    s->next_id = s->first_id;
    if (e == ERR_OK) {
        segment_chunk_key_t key;
        if (k.mv_size == sizeof key) {
            memcpy(&key, k.mv_data, sizeof key);
            s->next_id = be64toh(key.id) + 1;
        }
        if (k.mv_size != sizeof key || s->next_id <= s->first_id || s->next_id - s->first_id > (uint64_t)1 << 40)
            e = ERR_CORRUPT;
    }
    mdb_cursor_close(c);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    MDB_stat st;
    if ((e = segment_err(mdb_stat(txn, s->i, &st))) != ERR_OK)
        return e;
    atomic_store_explicit(&s->objects, st.ms_entries, memory_order_relaxed);
    if (s->sealed) {
        k = segment_val("filter", 6);
        if (mdb_get(txn, s->m, &k, &v) == 0)
            s->bloom = filter_bloom_load(span_of(v.mv_data, v.mv_size));
        s->filtered = s->bloom.n > 0;
    }
    return ERR_OK;
}

err_t segment_open(const char *path, uint64_t number, bool sealed, uint64_t map, uint64_t epoch, segment_t **out)
{
    err_t e = segment_validate(path);
    if (e != ERR_OK)
        return e;
    segment_t *s = segment_new(mem_dup(path, strlen(path)), number);
    s->sealed = sealed;
    struct stat st;
    if (stat(path, &st) == 0 && (uint64_t)st.st_size * 2 > map)
        map = (uint64_t)st.st_size * 2 / SEGMENT_PAGE * SEGMENT_PAGE; /* it was made under another configuration */
    e = segment_env(s, map, sealed);
    MDB_txn *txn;
    if (e == ERR_OK && (e = segment_err(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn))) == ERR_OK) {
        e = segment_recognise(s, txn, epoch);
        if (e == ERR_OK)
            e = segment_err(mdb_txn_commit(txn)); /* not aborted: that would close the handles */
        else
            mdb_txn_abort(txn);
    }
    if (e != ERR_OK) {
        segment_close(s);
        return e;
    }
    if (!sealed)
        filter_set_init(&s->set);
    else
        segment_make_hit_bits(s);
    segment_measure(s);
    *out = s;
    return ERR_OK;
}

void segment_make_hit_bits(segment_t *s)
{
    s->hit = mem_zalloc((size_t)((s->next_id - s->first_id) / 8 + 1));
}

/* ---- writing ---- */

err_t segment_begin(segment_t *s)
{
    CHECK(s->txn == NULL);
    s->txn_bytes = 0;
    err_t e = segment_err(mdb_txn_begin(s->env, NULL, 0, &s->txn));
    if (e != ERR_OK)
        s->txn = NULL;
    return e;
}

err_t segment_write_chunk(segment_t *s, uint64_t id, uint32_t number, size_t n, char **chunk)
{
    CHECK(n <= RECORD_PAYLOAD);
    segment_chunk_key_t key = {.id = htobe64(id), .number = htobe32(number)};
    MDB_val k = segment_val(&key, sizeof key), v = segment_val(NULL, n + 8);
    err_t e = segment_err(mdb_put(s->txn, s->d, &k, &v, MDB_APPEND | MDB_RESERVE));
    if (e != ERR_OK)
        return e;
    s->txn_bytes += segment_cost(n);
    *chunk = v.mv_data;
    return ERR_OK;
}

void segment_chunk_done(char *chunk, uint64_t id, uint32_t number, size_t n)
{
    uint64_t sum = record_sum(span_of(chunk + 8, n), id, number);
    memcpy(chunk, &sum, sizeof sum);
}

static segment_index_key_t segment_key(digest_t d, uint64_t variant)
{
    return (segment_index_key_t){htobe64(d.hi), htobe64(d.lo), htobe64(variant)};
}

err_t segment_write_index(segment_t *s, digest_t digest, uint64_t variant, uint64_t id, uint64_t stream)
{
    segment_index_key_t key = segment_key(digest, variant);
    segment_index_value_t value = {.id = id, .stream = stream};
    MDB_val k = segment_val(&key, sizeof key), v = segment_val(&value, sizeof value);
    return segment_err(mdb_put(s->txn, s->i, &k, &v, 0));
}

err_t segment_erase(segment_t *s, digest_t digest, uint64_t variant)
{
    segment_index_key_t key = segment_key(digest, variant);
    MDB_val k = segment_val(&key, sizeof key);
    return segment_err(mdb_del(s->txn, s->i, &k, NULL));
}

err_t segment_commit(segment_t *s)
{
    err_t e = segment_err(mdb_txn_commit(s->txn));
    int saved = errno;
    s->txn = NULL;
    s->txn_bytes = 0;
    MDB_txn *txn;
    MDB_stat st;
    if (e == ERR_OK && mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) == 0) {
        if (s->i != 0 && mdb_stat(txn, s->i, &st) == 0)
            atomic_store_explicit(&s->objects, st.ms_entries, memory_order_relaxed);
        mdb_txn_abort(txn);
    }
    segment_measure(s);
    errno = saved;
    return e;
}

void segment_abort(segment_t *s)
{
    mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->txn_bytes = 0;
}

uint64_t segment_used(const segment_t *s)
{
    MDB_envinfo info;
    mdb_env_info(s->env, &info);
    return (info.me_last_pgno + 1) * SEGMENT_PAGE + s->txn_bytes;
}

err_t segment_scan(segment_t *s)
{
    MDB_txn *txn;
    MDB_cursor *c;
    err_t e = segment_read(s, &txn);
    if (e != ERR_OK)
        return e;
    if ((e = segment_err(mdb_cursor_open(txn, s->i, &c))) == ERR_OK) {
        MDB_val k, v;
        int rc;
        while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0 && k.mv_size == sizeof(segment_index_key_t)) {
            segment_index_key_t key;
            memcpy(&key, k.mv_data, sizeof key);
            if (filter_set_full(&s->set))
                free((void *)filter_set_swap(&s->set, filter_set_grown(&s->set)));
            filter_set_add(&s->set, (digest_t){be64toh(key.hi), be64toh(key.lo)});
        }
        e = rc == 0 ? ERR_CORRUPT : rc == MDB_NOTFOUND ? ERR_OK : segment_err(rc);
        mdb_cursor_close(c);
    }
    mdb_txn_abort(txn);
    return e;
}

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

err_t segment_seal(segment_t *s, filter_bloom_t *bloom)
{
    CHECK(!s->sealed && s->txn == NULL);
    *bloom = (filter_bloom_t){0};
    err_t e = segment_begin(s);
    if (e != ERR_OK)
        return e;
    filter_bloom_t made = filter_bloom_make(&s->set);
    span_t bytes = filter_bloom_bytes(&made);
    MDB_val k = segment_val("filter", 6), v = segment_val(bytes.p, bytes.n);
    if ((e = segment_err(mdb_put(s->txn, s->m, &k, &v, 0))) == ERR_OK)
        e = segment_commit(s);
    else
        segment_abort(s);
    e = e != ERR_OK ? e : segment_err(mdb_env_sync(s->env, 1));
    if (e == ERR_OK) {
        mdb_env_set_flags(s->env, MDB_NOSYNC, 0);
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

/* ---- reading ---- */

err_t segment_read(segment_t *s, MDB_txn **txn)
{
    return segment_err(mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn));
}

static err_t segment_entry(MDB_val v, uint64_t variant, segment_entry_t *out)
{
    segment_index_value_t value;
    if (v.mv_size != sizeof value)
        return ERR_CORRUPT;
    memcpy(&value, v.mv_data, sizeof value);
    *out = (segment_entry_t){.variant = variant, .id = value.id, .stream = value.stream};
    return ERR_OK;
}

err_t segment_variants(segment_t *s, MDB_txn *txn, digest_t digest, MDB_cursor **cursor, segment_entry_t *out)
{
    segment_index_key_t key = segment_key(digest, 0);
    MDB_val k = segment_val(&key, sizeof key), v;
    err_t e;
    if (*cursor == NULL) {
        e = segment_err(mdb_cursor_open(txn, s->i, cursor));
        if (e != ERR_OK) {
            *cursor = NULL;
            return e;
        }
        e = segment_err(mdb_cursor_get(*cursor, &k, &v, MDB_SET_RANGE));
    } else {
        e = segment_err(mdb_cursor_get(*cursor, &k, &v, MDB_NEXT));
    }
    if (e == ERR_OK && (k.mv_size != sizeof key || memcmp(k.mv_data, &key, 16) != 0))
        e = ERR_NOT_FOUND;
    if (e == ERR_OK) {
        memcpy(&key, k.mv_data, sizeof key);
        e = segment_entry(v, be64toh(key.variant), out);
    }
    if (e != ERR_OK)
        segment_variants_end(cursor);
    return e;
}

void segment_variants_end(MDB_cursor **cursor)
{
    if (*cursor != NULL)
        mdb_cursor_close(*cursor);
    *cursor = NULL;
}

err_t segment_find(segment_t *s, MDB_txn *txn, digest_t digest, uint64_t variant, segment_entry_t *out)
{
    segment_index_key_t key = segment_key(digest, variant);
    MDB_val k = segment_val(&key, sizeof key), v;
    err_t e = segment_err(mdb_get(txn, s->i, &k, &v));
    return e != ERR_OK ? e : segment_entry(v, variant, out);
}

/* Page by page a cold megabyte takes 17 ms; asked for in one go, one. Populating also turns an I/O error or a file that
 * became shorter into an answer, where touching the page would be a signal. */
static bool segment_populate(const char *p, size_t n)
{
    uintptr_t from = (uintptr_t)p & ~(uintptr_t)(SEGMENT_PAGE - 1);
    size_t length = (uintptr_t)p + n - from;
    if (length > 4 * SEGMENT_PAGE)
        madvise((void *)from, length, MADV_WILLNEED);
    if (madvise((void *)from, length, MADV_POPULATE_READ) == 0)
        return true;
    return errno == EINVAL; /* a kernel before 5.14: touch it and hope */
}

err_t segment_chunk(segment_t *s, MDB_txn *txn, uint64_t id, uint32_t number, span_t *payload, uint64_t *sum)
{
    segment_chunk_key_t key = {.id = htobe64(id), .number = htobe32(number)};
    MDB_val k = segment_val(&key, sizeof key), v;
    err_t e = segment_err(mdb_get(txn, s->d, &k, &v));
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    if (v.mv_size < 8 || v.mv_size > RECORD_CHUNK)
        return ERR_CORRUPT;
    if (!segment_populate(v.mv_data, v.mv_size))
        return ERR_IO;
    memcpy(sum, v.mv_data, 8);
    *payload = span_of((const char *)v.mv_data + 8, v.mv_size - 8);
    return ERR_OK;
}
