/* A response of one URL that is larger than memory takes, for simulations: its bytes, its upstream, its disk. */
#ifndef BRINK_TESTS_SIM_LARGE_H
#define BRINK_TESTS_SIM_LARGE_H

#include "edge/store/piece.h"
#include "world.h"

#define FRESH "cache-control: max-age=3600\netag: \"v1\"\ncache-tag: t"
#define WEAK "cache-control: max-age=3600\netag: W/\"v1\"\ncache-tag: t"

enum { LENGTH = 5 * PIECE_BYTES + 12345, SLICE = 1024 * 1024, BLOCK = 100 * 1000 };

world_t *large_world(void);
/* All bytes of one version or another; malloc'ed. */
char *large_bytes(char version);

/* ---- the upstream ---- */
/* What it sends of [from, to); the world runs between the blocks. */
void large_sends(world_t *w, world_call_t *call, uint64_t from, uint64_t to, char version);
/* Its answer to the last call: the whole of it. */
void large_answers(world_t *w, const char *fields, char version);
/* Its answer to a request for a slice. */
void large_brings(world_t *w, uint64_t from, uint64_t to, char version, const char *fields);
/* What the last call asked for. */
void large_asked(world_t *w, const char *range, const char *if_range);

/* ---- the client ---- */
/* Asks for it, and gets what can be had without the upstream. */
world_client_t *large_get(world_t *w, unsigned loop, const char *lines);
/* It got just these bytes. */
void large_is(const world_client_t *c, int status, uint64_t from, uint64_t to, char version);

/* ---- the tiers ---- */
/* What was cut reaches the disk, and the head comes after it. */
void large_lands(world_t *w);
/* A first client is answered, and all of it is on disk. */
void large_stored(world_t *w, const char *fields);
/* Empties memory alone, as a restart does. */
void large_forget(world_t *w);
/* A purge by URL drops the pieces with the head; this drops a piece alone, as the disk does when it is full. */
void large_drop(world_t *w, uint64_t number);

#endif
