/* A damaged segment of the disk tier: LMDB's trees as they were written, with the bytes changed that the input names.
 * Slices of four bytes: page, offset in it (two, big-endian), the new byte; the first byte of the input: 1 = the file
 * is cut in the middle of its last page.
 *
 * Whatever was changed: reading ends, and says nothing that isn't in the file; and a file that the check lets pass can
 * be written on by LMDB, which believes all that it finds. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/warm/segment_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TREE_RECORDS = 60, TREE_EPOCH = 7, TREE_MAP = 4 << 20, TREE_PATCH = 4, TREE_LONGEST = 400 };

static char folder[] = "/tmp/brink-fuzz-XXXXXX", *path, *base;
static size_t base_n;
static int file = -1;

static void at_exit(void)
{
    close(file);
    unlink(path);
    rmdir(folder);
    free(path);
    free(base);
}

static void chunk(segment_t *s, uint64_t id, size_t n)
{
    char *at;
    uint64_t page;
    CHECK(segment_write_chunk(s, id, 0, n, &at, &page) == ERR_OK);
    memset(at + SEGMENT_SUM, (int)id, n);
    segment_chunk_done(at, id, 0, n);
    CHECK(segment_write_index(s, (digest_t){id * 0x9e3779b97f4a7c15u, id},
                              &(segment_entry_t){.id = id, .stream = n, .page = page}) == ERR_OK);
}

/* Several levels, large values, and a list of free pages. */
static void open_once(void)
{
    segment_t *s;
    CHECK(mkdtemp(folder) != NULL);
    CHECK(segment_create(folder, 1, TREE_MAP, TREE_EPOCH, 1, &s) == ERR_OK);
    for (uint64_t id = 1; id <= TREE_RECORDS; id++) {
        if (id % 20 == 1)
            CHECK(segment_begin(s) == ERR_OK);
        chunk(s, id, id % 7 == 0 ? 9000 : id * 11);
        if (id % 20 == 0)
            CHECK(segment_commit(s) == ERR_OK);
    }
    segment_finish(s);
    path = mem_dup(s->path, strlen(s->path));
    segment_unref(s);
    struct stat st;
    file = open(path, O_RDWR | O_CLOEXEC);
    CHECK(file >= 0 && fstat(file, &st) == 0);
    base_n = (size_t)st.st_size;
    base = mem_alloc(base_n);
    CHECK(pread(file, base, base_n, 0) == (ssize_t)base_n);
    atexit(at_exit);
}

static void walk(const tree_file_t *f, const tree_db_t *db, bool sound)
{
    tree_cursor_t c;
    tree_item_t item;
    char value[64];
    uint64_t n = 0;
    err_t e = tree_seek(&c, f, db, span_of("", 0));
    for (; e == ERR_OK && n < 10000; e = tree_next(&c), n++) {
        if ((e = tree_item(&c, &item)) != ERR_OK)
            break;
        size_t some = item.size < sizeof value ? (size_t)item.size : sizeof value;
        err_t read = tree_value(f, &item, value, some);
        CHECK(!sound || read == ERR_OK);
    }
    CHECK(!sound || (e == ERR_NOT_FOUND && n == db->entries));
    CHECK(e != ERR_IO && e != ERR_AGAIN);
    (void)tree_last(&c, f, db);
}

/* What an open segment is asked, and what its writer does after a start. */
static void use(bool sound)
{
    segment_t *s;
    if (segment_open(path, 1, false, TREE_EPOCH, &s) != ERR_OK)
        return;
    static segment_reader_t r;
    segment_entry_t entry;
    char bytes[100];
    size_t got;
    for (uint64_t id = 1; id <= TREE_RECORDS; id += 7) {
        segment_read(&r, s, false);
        while (segment_variants(&r, (digest_t){id * 0x9e3779b97f4a7c15u, id}, &entry) == ERR_OK && entry.id != 0)
            if (segment_first(&r, entry.id, bytes, sizeof bytes, &got) == ERR_OK)
                CHECK(got <= sizeof bytes);
    }
    (void)segment_scan(s);
    if (segment_continue(s, TREE_MAP) == ERR_OK) {
        CHECK(sound);
        CHECK(segment_begin(s) == ERR_OK);
        chunk(s, s->next_id, 5000);
        CHECK(segment_commit(s) == ERR_OK);
        tree_file_t f = {.fd = s->fd};
        tree_meta_t m;
        CHECK(tree_meta(&f, &m) == ERR_OK);
        f.pages = m.pages;
        CHECK(tree_check(&f, &m) == ERR_OK); /* what was written is sound again */
    }
    segment_finish(s);
    segment_unref(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (file < 0)
        open_once();
    if (size < 1 || size > TREE_LONGEST)
        return 0;
    CHECK(pwrite(file, base, base_n, 0) == (ssize_t)base_n && ftruncate(file, (off_t)base_n) == 0);
    bool cut = (data[0] & 1) != 0;
    for (size_t at = 1; at + TREE_PATCH <= size; at += TREE_PATCH) {
        uint64_t where = (uint64_t)data[at] * TREE_PAGE + ((uint64_t)data[at + 1] << 8 | data[at + 2]) % TREE_PAGE;
        if (where < base_n)
            CHECK(pwrite(file, &data[at + 3], 1, (off_t)where) == 1);
    }
    if (cut)
        CHECK(ftruncate(file, (off_t)(base_n - TREE_PAGE / 2)) == 0);
    tree_file_t f = {.fd = file};
    tree_meta_t m;
    bool sound = false;
    if (tree_meta(&f, &m) == ERR_OK) {
        f.pages = m.pages;
        static const span_t names[] = {SPAN("d"), SPAN("i"), SPAN("m")};
        sound = m.pages < 10000 && tree_check(&f, &m) == ERR_OK;
        CHECK(!sound || tree_check_roots(&f, &m) == ERR_OK);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            tree_db_t db;
            if (tree_named(&f, &m, names[i], &db) == ERR_OK) {
                walk(&f, &db, sound);
                (void)tree_check_path(&f, &db, names[i]);
            }
        }
        if (m.pages < 10000)
            use(sound);
    }
    return 0;
}
