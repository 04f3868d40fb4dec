/* A segment's file: its name, its last commit as readers see it, and reading it. A process that is killed loses nothing
 * that was committed, since pages are in the kernel by then; a machine that loses power may leave an unsealed file in
 * any state, which is why the tier deletes those unopened after a reboot. */
#include "edge/warm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "edge/base/check.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/warm/segment_priv.h"

enum { SEGMENT_LEAST_RECORD = 16, SEGMENT_FILTER_MOST = 256 * 1024 * 1024 };

uint64_t segment_cost(uint64_t stream)
{
    /* A value that isn't small has pages of its own; an index entry takes 60 bytes, in leaves that are two thirds full.
     */
    uint64_t whole = stream / RECORD_PAYLOAD * (RECORD_CHUNK + TREE_HEAD), rest = stream % RECORD_PAYLOAD;
    uint64_t tail = rest + 8 > TREE_PAGE / 2 - 64 ? (rest + 8 + TREE_HEAD + TREE_PAGE - 1) / TREE_PAGE * TREE_PAGE
                                                  : (rest + 8 + 24) * 3 / 2;
    return whole + (rest > 0 ? tail : 0) + 128 + record_chunks(stream) * 64;
}

segment_t *segment_new(char *path, uint64_t number, uint64_t epoch)
{
    segment_t *s = mem_zalloc(sizeof *s);
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->view_lock, NULL);
    s->number = number;
    s->path = path;
    s->epoch = epoch;
    s->fd = -1;
    return s;
}

void segment_close(segment_t *s)
{
    CHECK(s->env == NULL);
    if (s->fd >= 0)
        close(s->fd);
    filter_set_release(&s->set);
    filter_bloom_release(&s->bloom);
    marks_release(&s->marks);
    free((void *)s->hit);
    free(s->path);
    pthread_mutex_destroy(&s->view_lock);
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
    char *marks = segment_marks_path(s->path);
    unlink(marks);
    free(marks);
}

void segment_measure(segment_t *s)
{
    struct stat st;
    atomic_store_explicit(&s->bytes, fstat(s->fd, &st) == 0 ? (uint64_t)st.st_size : 0, memory_order_relaxed);
}

void segment_make_hit_bits(segment_t *s)
{
    s->hit = mem_zalloc((size_t)((s->next_id - s->first_id) / 8 + 1));
}

/* ---- the last commit ---- */

err_t segment_publish(segment_t *s)
{
    tree_file_t f = {.fd = s->fd};
    tree_meta_t m;
    segment_view_t v = {0};
    err_t e = tree_meta(&f, &m);
    if (e != ERR_OK)
        return e;
    f.pages = v.pages = m.pages;
    v.txnid = m.txnid;
    if ((e = tree_named(&f, &m, SPAN("i"), &v.i)) == ERR_OK)
        e = tree_named(&f, &m, SPAN("d"), &v.d);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    pthread_mutex_lock(&s->view_lock);
    s->view = v;
    pthread_mutex_unlock(&s->view_lock);
    return ERR_OK;
}

void segment_read(segment_reader_t *r, segment_t *s, bool nowait)
{
    r->s = s;
    r->begun = false;
    pthread_mutex_lock(&s->view_lock);
    r->view = s->view;
    pthread_mutex_unlock(&s->view_lock);
    r->file = (tree_file_t){.fd = s->fd, .pages = r->view.pages, .nowait = nowait};
}

bool segment_valid(const segment_reader_t *r)
{
    pthread_mutex_lock(&r->s->view_lock);
    uint64_t now = r->s->view.txnid;
    pthread_mutex_unlock(&r->s->view_lock);
    return now - r->view.txnid <= 1;
}

/* ---- opening ---- */

static err_t segment_get_number(const tree_file_t *f, const tree_db_t *m, const char *name, uint64_t *out)
{
    tree_cursor_t c;
    tree_item_t item;
    err_t e = tree_find(&c, f, m, span_str(name), &item);
    if (e == ERR_OK && item.size != sizeof *out)
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = tree_value(f, &item, out, sizeof *out);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

static err_t segment_last_id(const tree_file_t *f, segment_t *s)
{
    tree_cursor_t c;
    tree_item_t item;
    segment_chunk_key_t key;
    s->next_id = s->first_id;
    err_t e = tree_last(&c, f, &s->view.d);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e == ERR_OK)
        e = tree_item(&c, &item);
    if (e != ERR_OK)
        return e;
    if (item.key.n != sizeof key)
        return ERR_CORRUPT;
    memcpy(&key, item.key.p, sizeof key);
    s->next_id = be64toh(key.id) + 1;
    return s->next_id <= s->first_id || s->next_id - s->first_id > s->view.pages * (TREE_PAGE / SEGMENT_LEAST_RECORD)
               ? ERR_CORRUPT
               : ERR_OK;
}

/* A sealed segment whose filter is damaged is damaged: who looks past it would find older answers elsewhere. */
static err_t segment_load_filter(const tree_file_t *f, const tree_db_t *m, segment_t *s)
{
    tree_cursor_t c;
    tree_item_t item;
    err_t e = tree_find(&c, f, m, SPAN("filter"), &item);
    if (e != ERR_OK || item.size <= SEGMENT_SUM || item.size > SEGMENT_FILTER_MOST)
        return e == ERR_OK || e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    char *bytes = mem_alloc(item.size);
    uint64_t sum;
    if ((e = tree_value(f, &item, bytes, item.size)) == ERR_OK) {
        span_t filter = span_of(bytes + SEGMENT_SUM, item.size - SEGMENT_SUM);
        memcpy(&sum, bytes, sizeof sum);
        if (XXH3_64bits(filter.p, filter.n) == sum)
            s->bloom = filter_bloom_load(filter);
        if (s->bloom.n == 0)
            e = ERR_CORRUPT;
    }
    free(bytes);
    s->filtered = e == ERR_OK;
    return e;
}

static err_t segment_recognise(segment_t *s, uint64_t epoch)
{
    tree_file_t f = {.fd = s->fd};
    tree_meta_t meta;
    tree_db_t m;
    struct stat st;
    uint64_t form = 0, written = 0, dead = 0;
    err_t e = tree_meta(&f, &meta);
    if (e != ERR_OK)
        return e;
    f.pages = meta.pages;
    if (fstat(s->fd, &st) != 0 || (uint64_t)st.st_size / TREE_PAGE < meta.pages)
        return ERR_CORRUPT;
    if ((e = segment_publish(s)) != ERR_OK || (e = tree_named(&f, &meta, SPAN("m"), &m)) != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
    if ((e = segment_get_number(&f, &m, "form", &form)) != ERR_OK)
        return e;
    if (form != SEGMENT_FORM)
        return ERR_CORRUPT;
    e = segment_get_number(&f, &m, "epoch", &written);
    if (e == ERR_OK && written != epoch)
        return ERR_REFUSED;
    e = e != ERR_OK ? e : segment_get_number(&f, &m, "first", &s->first_id);
    e = e != ERR_OK ? e : segment_last_id(&f, s);
    if (e == ERR_OK && s->sealed && (e = segment_get_number(&f, &m, "erased", &dead)) == ERR_OK)
        e = segment_load_filter(&f, &m, s);
    if (dead > s->view.i.entries)
        e = ERR_CORRUPT;
    atomic_store_explicit(&s->objects, s->view.i.entries - dead, memory_order_relaxed);
    return e;
}

/* Without them nothing of it was checked, and if the ledger has forgotten since, everything in it counts as purged. */
static void segment_load_marks(segment_t *s)
{
    char *path = segment_marks_path(s->path);
    err_t e = marks_load(path, s->epoch, &s->marks);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_warn("warm tier: %s is left out: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
    free(path);
}

err_t segment_open(const char *path, uint64_t number, bool sealed, uint64_t epoch, segment_t **out)
{
    segment_t *s = segment_new(mem_dup(path, strlen(path)), number, epoch);
    s->sealed = sealed;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    err_t e = s->fd < 0 ? ERR_IO : segment_recognise(s, epoch);
    if (e != ERR_OK) {
        int saved = errno;
        segment_close(s);
        errno = saved;
        return e;
    }
    if (!sealed)
        filter_set_init(&s->set);
    else
        segment_make_hit_bits(s);
    segment_load_marks(s);
    segment_measure(s);
    *out = s;
    return ERR_OK;
}

/* ---- marks ---- */

char *segment_marks_path(const char *path)
{
    char *out;
    CHECK(asprintf(&out, "%.*s.marks", (int)(strrchr(path, '.') - path), path) > 0);
    return out;
}

uint32_t segment_mark(segment_t *s, uint64_t id, uint64_t *swept)
{
    pthread_mutex_lock(&s->view_lock);
    uint32_t mark = marks_of(&s->marks, id - s->first_id);
    *swept = s->marks.swept;
    pthread_mutex_unlock(&s->view_lock);
    return mark;
}

err_t segment_set_marks(segment_t *s, marks_t *m)
{
    char *path = segment_marks_path(s->path);
    err_t e = marks_store(path, s->epoch, m);
    free(path);
    if (e == ERR_OK) {
        pthread_mutex_lock(&s->view_lock);
        marks_t old = s->marks;
        s->marks = *m;
        pthread_mutex_unlock(&s->view_lock);
        *m = old;
    }
    int saved = errno;
    marks_release(m);
    errno = saved;
    return e;
}

/* ---- reading ---- */

err_t segment_variants(segment_reader_t *r, digest_t digest, segment_entry_t *out)
{
    segment_index_key_t key = segment_index_key(digest, 0);
    tree_item_t item = {.key = SPAN_NONE};
    err_t e = r->begun ? tree_next(&r->cursor)
                       : tree_seek(&r->cursor, &r->file, &r->view.i, span_of((const char *)&key, sizeof key));
    r->begun = true;
    if (e == ERR_OK)
        e = tree_item(&r->cursor, &item);
    if (e == ERR_OK && (item.key.n != sizeof key || memcmp(item.key.p, &key, sizeof(digest_t)) != 0))
        e = ERR_NOT_FOUND;
    return e != ERR_OK ? e : segment_index_entry(item.key, item.value, out);
}

err_t segment_find(segment_reader_t *r, digest_t digest, uint64_t variant, segment_entry_t *out)
{
    segment_index_key_t key = segment_index_key(digest, variant);
    tree_item_t item;
    err_t e = tree_find(&r->cursor, &r->file, &r->view.i, span_of((const char *)&key, sizeof key), &item);
    return e != ERR_OK ? e : segment_index_entry(item.key, item.value, out);
}

static err_t segment_chunk_item(segment_reader_t *r, tree_cursor_t *c, uint64_t id, uint32_t number, tree_item_t *out)
{
    segment_chunk_key_t key = segment_chunk_key(id, number);
    err_t e = tree_find(c, &r->file, &r->view.d, span_of((const char *)&key, sizeof key), out);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

err_t segment_chunk(segment_reader_t *r, uint64_t id, uint32_t number, uint64_t page, size_t whole, size_t from,
                    char *to, size_t n, uint64_t *sum)
{
    tree_cursor_t c;
    tree_item_t item = {.size = whole + SEGMENT_SUM, .page = page};
    err_t e = page != 0 && number == 0 ? ERR_OK : segment_chunk_item(r, &c, id, number, &item);
    if (e == ERR_OK && (item.size != whole + SEGMENT_SUM || from > whole || n > whole - from))
        e = ERR_CORRUPT;
    if (e != ERR_OK)
        return e;
    if (item.value.p != NULL) {
        memcpy(sum, item.value.p, SEGMENT_SUM);
        memcpy(to, item.value.p + SEGMENT_SUM + from, n);
        return ERR_OK;
    }
    if ((e = tree_value(&r->file, &item, sum, SEGMENT_SUM)) != ERR_OK)
        return e;
    return tree_read(&r->file, to, n, item.page * TREE_PAGE + TREE_HEAD + SEGMENT_SUM + from);
}

err_t segment_first(segment_reader_t *r, uint64_t id, char *to, size_t n, size_t *got)
{
    tree_cursor_t c;
    tree_item_t item;
    uint64_t sum;
    err_t e = segment_chunk_item(r, &c, id, 0, &item);
    if (e == ERR_OK && (item.size < SEGMENT_SUM || item.size > RECORD_CHUNK))
        e = ERR_CORRUPT;
    if (e != ERR_OK)
        return e;
    size_t whole = (size_t)item.size - SEGMENT_SUM;
    *got = n < whole ? n : whole;
    return segment_chunk(r, id, 0, item.value.p != NULL ? 0 : item.page, whole, 0, to, *got, &sum);
}

void segment_ahead(segment_reader_t *r, const segment_entry_t *entry, uint64_t from, uint64_t n)
{
    if (entry->page != 0)
        posix_fadvise(r->file.fd, (off_t)(entry->page * TREE_PAGE + from), (off_t)n, POSIX_FADV_WILLNEED);
}

err_t segment_scan(segment_t *s)
{
    segment_reader_t r;
    segment_read(&r, s, false);
    uint64_t n = 0;
    s->tombstones = 0;
    err_t e = tree_seek(&r.cursor, &r.file, &r.view.i, span_of("", 0));
    for (; e == ERR_OK; e = tree_next(&r.cursor)) {
        tree_item_t item;
        segment_entry_t entry;
        segment_index_key_t key;
        if ((e = tree_item(&r.cursor, &item)) != ERR_OK ||
            (e = segment_index_entry(item.key, item.value, &entry)) != ERR_OK)
            return e;
        if (++n > r.view.i.entries)
            return ERR_CORRUPT;
        s->tombstones += entry.id == 0;
        memcpy(&key, item.key.p, sizeof key);
        if (filter_set_full(&s->set))
            free((void *)filter_set_swap(&s->set, filter_set_grown(&s->set)));
        filter_set_add(&s->set, (digest_t){be64toh(key.hi), be64toh(key.lo)});
    }
    if (e != ERR_NOT_FOUND)
        return e;
    atomic_store_explicit(&s->objects, n - s->tombstones, memory_order_relaxed);
    return n == r.view.i.entries ? ERR_OK : ERR_CORRUPT;
}
