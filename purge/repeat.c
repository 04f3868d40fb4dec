/* The entries that were read lately, so that one that comes a second time is known: one that several nodes found
 * missing after a loss of data, or whose XADD was repeated because its reply was lost. It has been in force since the
 * first time, and everything fetched since is newer than it.
 *
 * What may be taken for a repetition is narrow, since a purge that is passed over by mistake is a lost one. An entry
 * that was entered again says which one it stands for, and has that one's body. Another must come from the same life of
 * the same node with the same number and the same body: numbers begin again with a new state directory. An
 * application's equal entries are as many purges. */
#include "edge/base/hash.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

enum { REPEAT_SEED_BODY = 1, REPEAT_SEED_FROM = 2 };

static uint64_t repeat_from(const stream_entry_t *e)
{
    return e->by.n > 0 && e->life.n > 0 ? hash_64(e->by, hash_64(e->life, REPEAT_SEED_FROM)) | 1 : 0;
}

void repeat_add(purge_t *p, const stream_entry_t *e, const repeat_t *what)
{
    if (p->repeats == NULL)
        p->repeats = mem_zalloc(PURGE_REPEATS * sizeof *p->repeats);
    repeat_t *r = &p->repeats[p->repeats_n++ % PURGE_REPEATS];
    *r = *what;
    r->id = e->id;
    r->body = hash_64(e->purge, REPEAT_SEED_BODY);
    r->from = repeat_from(e);
}

const repeat_t *repeat_find(const purge_t *p, const stream_entry_t *e)
{
    uint64_t from = repeat_from(e);
    bool again = e->again.ms != 0;
    if (!again && from == 0)
        return NULL;
    uint64_t body = hash_64(e->purge, REPEAT_SEED_BODY);
    for (size_t i = p->repeats_n; i > 0 && p->repeats_n - i < PURGE_REPEATS; i--) {
        const repeat_t *r = &p->repeats[(i - 1) % PURGE_REPEATS];
        if (r->body == body && ((again && stream_id_cmp(r->id, e->again) == 0) || (from != 0 && r->from == from)))
            return r;
    }
    return NULL;
}
