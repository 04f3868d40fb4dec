/* The memory is walked all the time, since that also frees what is dead. The disk is walked once a day, and more often
 * only when the ledger has grown so far that forgetting is worth a page read of every record. */
#include "edge/node_upkeep.h"

typedef struct node_upkeep_walk {
    ledger_t *ledger;
    msec_t wall;
} node_upkeep_walk_t;

void node_upkeep_init(node_upkeep_t *u, store_t *store, purge_t *purge, collapse_t *collapse, bool disk)
{
    *u = (node_upkeep_t){.store = store,
                         .purge = purge,
                         .collapse = collapse,
                         .disk = disk,
                         .disk_worth = NODE_UPKEEP_DISK_WORTH,
                         .every = NODE_UPKEEP_EVERY,
                         .disk_every = NODE_UPKEEP_DISK_EVERY,
                         .disk_least = NODE_UPKEEP_DISK_LEAST};
}

/* Hard-purged responses and those that can never be used again need not wait for eviction; stale ones make room first.
 */
static store_fate_t node_upkeep_visit(object_t *o, void *arg)
{
    const node_upkeep_walk_t *w = arg;
    ledger_subject_t s = {
        .uri = object_uri(o), .uri_digest = object_uri_digest(o), .tags = object_tags(o), .tags_n = o->tags_n};
    if (ledger_stamp_check(w->ledger, &o->stamp, &s) == MARK_HARD)
        return STORE_REMOVE;
    stored_t meta = object_meta(o);
    msec_t over = -stored_ttl(&meta, w->wall);
    bool validators = (meta.flags & (STORED_HAS_ETAG | STORED_HAS_LAST_MODIFIED)) != 0;
    if (over <= meta.stale_while_revalidate || over <= 0)
        return STORE_KEEP;
    bool useless = over > meta.stale_if_error && over > reuse_disconnected_most(&meta);
    return !validators && useless ? STORE_REMOVE : STORE_DEMOTE;
}

static bool node_upkeep_due(msec_t last, msec_t every, msec_t now)
{
    return last == 0 || now - last >= every;
}

static void node_upkeep_disk(node_upkeep_t *u, warm_t *warm, const ledger_stats_t *s, msec_t now)
{
    bool running = warm_swept(warm) < u->goal, urgent = s->values * 2 >= s->max_values;
    if (u->disk_at == 0)
        u->disk_at = now; /* a start has other things to do */
    msec_t every = urgent ? 0 : s->values >= u->disk_worth ? u->disk_every : u->disk_least;
    if (running || s->values == 0 || !node_upkeep_due(u->disk_at, every, now))
        return;
    u->disk_at = now;
    u->goal = s->head;
    warm_sweep(warm, u->goal);
}

static void node_upkeep_compact(node_upkeep_t *u, warm_t *warm, msec_t now)
{
    ledger_stats_t s;
    ledger_stats(purge_ledger(u->purge), &s);
    if (u->disk && warm == NULL)
        return;
    if (warm != NULL)
        node_upkeep_disk(u, warm, &s, now);
    if (s.values == 0 || !node_upkeep_due(u->compacted_at, u->every, now))
        return;
    uint64_t floor = u->memory, disk = warm != NULL ? warm_swept(warm) : floor;
    if (disk < floor)
        floor = disk;
    if (floor <= s.compacted)
        return;
    uint64_t fetching = collapse_oldest(u->collapse);
    if (fetching < floor)
        floor = fetching;
    if (floor <= s.compacted)
        return;
    u->compacted_at = now;
    purge_compact(u->purge, floor);
}

void node_upkeep_tick(node_upkeep_t *u, warm_t *warm, now_t now)
{
    node_upkeep_walk_t w = {.ledger = purge_ledger(u->purge), .wall = now.wall};
    if (u->cursor == 0)
        u->began = ledger_head(w.ledger);
    store_sweep(u->store, &u->cursor, NODE_UPKEEP_STEPS, node_upkeep_visit, &w);
    if (u->cursor == 0)
        u->memory = u->began;
    node_upkeep_compact(u, warm, now.boot);
}
