/* The records in the purge journal's file, as a damaged or foreign file may have them: items of a byte (which of the
 * four databases), a byte each of the key's and the value's length, and their bytes. Loading refuses or takes them, and
 * what is taken can be asked, pruned, compacted and written on. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "purge/journal_lmdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static journal_file_t file;
static char folder[] = "/tmp/brink-fuzz-XXXXXX";
static bool opened;

static void at_exit(void)
{
    static const char *const names[] = {"purge.mdb", "purge.mdb-lock", "purge.mdb.own"};
    journal_lmdb_close(&file);
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlinkat(dir, names[i], 0);
    close(dir);
    rmdir(folder);
}

static void open_once(void)
{
    char err[512];
    CHECK(mkdtemp(folder) != NULL);
    CHECK(journal_lmdb_open(&file, folder, err, sizeof err) == ERR_OK);
    CHECK(mdb_env_set_flags(file.env, MDB_NOSYNC, 1) == 0);
    opened = true;
    atexit(at_exit);
}

static MDB_txn *begin(void)
{
    MDB_txn *t;
    CHECK(mdb_txn_begin(file.env, NULL, 0, &t) == 0);
    return t;
}

static void fill(const uint8_t *data, size_t size)
{
    MDB_txn *t = begin();
    MDB_dbi dbs[] = {file.meta, file.slots, file.records, file.receipts};
    for (size_t i = 0; i < 4; i++)
        CHECK(mdb_drop(t, dbs[i], 0) == 0);
    while (size >= 3) {
        MDB_dbi db = dbs[data[0] % 4];
        size_t key = data[1], value = data[2];
        data += 3;
        size -= 3;
        key = key < size ? key : size;
        MDB_val k = {key, (void *)(uintptr_t)data};
        data += key;
        size -= key;
        value = value < size ? value : size;
        MDB_val v = {value, (void *)(uintptr_t)data};
        data += value;
        size -= value;
        if (key > 0)
            CHECK(mdb_put(t, db, &k, &v, 0) == 0);
    }
    CHECK(mdb_txn_commit(t) == 0);
}

static bool each(void *ctx, const journal_record_t *r)
{
    size_t *sum = ctx;
    for (size_t i = 0; i < r->by.n; i++)
        *sum += (unsigned char)r->by.p[i];
    for (size_t i = 0; i < r->json.n; i++)
        *sum += (unsigned char)r->json.p[i];
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[512];
    journal_loaded_t loaded;
    journal_receipt_t receipt;
    ledger_t *ledger = NULL;
    size_t sum = 0;
    if (!opened)
        open_once();
    if (size > 20000)
        return 0;
    fill(data, size);
    err_t e = journal_lmdb_load(&file, 1000, &loaded, &ledger, err, sizeof err);
    CHECK((e == ERR_OK) == (ledger != NULL));
    (void)journal_lmdb_records(&file, each, &sum);
    (void)journal_lmdb_receipt(&file, 'n', 1, 0, &receipt);
    (void)journal_lmdb_receipt(&file, 's', 1700000000000, 0, &receipt);
    if (e == ERR_OK) {
        ledger_value_t v = {.digest = {1, 2}, .kind = LEDGER_TAG};
        journal_record_t r = {
            .number = loaded.next_number, .position = 1, .ms = 5, .flags = JOURNAL_OWN, .json = SPAN("{}")};
        journal_drop_t d = {.cut = loaded.drop};
        MDB_txn *t = begin();
        int rc = journal_lmdb_values(&file, t, &v, 1, MARK_HARD, 1);
        rc = rc != 0 ? rc : journal_lmdb_record(&file, t, &r);
        rc = rc != 0 ? rc : journal_lmdb_compact(&file, t, 5);
        rc = rc != 0 ? rc : journal_lmdb_drop(&file, t, &d);
        rc = rc != 0 ? rc : journal_lmdb_prune(&file, t, (msec_t)1 << 62);
        CHECK(rc == 0 || rc == MDB_CORRUPTED);
        mdb_txn_abort(t);
        ledger_free(ledger);
    } else {
        CHECK(err[0] != '\0');
    }
    return 0;
}
