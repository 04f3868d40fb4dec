/* The purge ledger: what was purged, in which order. Every stored response and every running fetch carries the position
 * at which its fetch *began* (ledger_head read before the request was sent); it is usable only if no later entry covers
 * it. Appending is O(values in the purge), whatever number of objects they cover. Never asks for the time, never
 * touches disk or network: the journal makes it durable, purge.h composes both.
 *
 * Threads: everything may be called from any thread. ledger_head and the fast path of ledger_stamp_check are atomic
 * loads; the rest takes a reader-writer lock for a few lookups. When ledger_append has returned, every check that
 * starts later sees it.
 *
 * Memory: LEDGER_MAX_VALUES distinct purged values (64 bytes each, in tables grown on demand and at most three quarters
 * full: 128 MiB at the ceiling). Beyond it the older half collapses into the floor, a part of the table at a time: what
 * began before the floor is dead if any collapsed entry was hard, else never used unvalidated. It never forgets. */
#ifndef BRINK_PURGE_LEDGER_H
#define BRINK_PURGE_LEDGER_H

#include "edge/base/err.h"
#include "edge/base/hash.h"
#include "edge/base/span.h"
#include "edge/base/stamp.h"
#include "edge/base/time.h"
#include "edge/policy/reuse.h"

typedef struct ledger ledger_t;

enum {
    LEDGER_MAX_VALUES = 1000 * 1000, /* distinct values remembered one by one */
    LEDGER_MAX_LENGTHS = 256,        /* distinct lengths of purged prefixes */
    LEDGER_MAX_INVALIDATED = 65536   /* URIs and groups invalidated by unsafe methods; older ones fall out */
};

/* ---- asking ---- */

/* What is asked about: a stored response, or a fetch whose head has arrived (before: tags_n = 0). Borrowed for the
 * call. */
typedef struct ledger_subject {
    span_t uri;           /* cache_key_t.uri: "host/path?query" */
    digest_t uri_digest;  /* cache_key_t.uri_digest */
    const digest_t *tags; /* tags_collect() */
    size_t tags_n;
} ledger_subject_t;

/* The position of the last entry. Read it BEFORE a request to the upstream is sent: that is the fetch's `began`. */
uint64_t ledger_head(const ledger_t *l);

/* The most severe entry after position `began` that covers the subject; *upto = the head that this verdict holds for.
 */
mark_t ledger_check(ledger_t *l, const ledger_subject_t *s, uint64_t began, uint64_t *upto);

/* What a stored response carries, embedded by value. `began` is constant; marks only grow. A 304 makes a new stamp
 * (ledger_stamp_init with the head that the old one was checked to before the request was sent). */
typedef stamp_t ledger_stamp_t; /* edge/base/stamp.h: began, checked_to, mark */

void ledger_stamp_init(ledger_stamp_t *st, uint64_t began);
/* From disk: the verdict belongs to checked_to, so both are kept or neither (then checked_to = began, MARK_NONE). */
void ledger_stamp_restore(ledger_stamp_t *st, uint64_t began, uint64_t checked_to, mark_t mark);
/* One comparison while nothing was purged since the last call, else a full check, remembered. Concurrent callers are
 * fine. */
mark_t ledger_stamp_check(ledger_t *l, ledger_stamp_t *st, const ledger_subject_t *s);
/* The same answer, and nothing is remembered: for looking on. */
mark_t ledger_stamp_look(ledger_t *l, const ledger_stamp_t *st, const ledger_subject_t *s);
/* Adds a mark from outside the ledger (an invalidation that found the object itself). */
void ledger_stamp_raise(ledger_stamp_t *st, mark_t mark);

/* An unsafe method succeeded on that URI (RFC 9111 4.4), or its answer invalidated that group (RFC 9875 3; the digest
 * is then among the tags of what belongs to it): everything begun before this call is MARK_STRICT. Goes into a small
 * separate table whose oldest values fall out, and never raises the floor: for a URI the caller also marks stored
 * responses directly. Not durable. Returns its position. */
uint64_t ledger_invalidate(ledger_t *l, digest_t digest, msec_t now_boot);

/* Why what began at that position is MARK_STRICT, which it is known to be. */
typedef enum ledger_strict {
    LEDGER_STRICT_GAP,         /* purges may have been lost since */
    LEDGER_STRICT_INVALIDATED, /* an unsafe method changed what it shows */
    LEDGER_STRICT_DEMANDED     /* the same, and no more than ledger_demand tells a shield of that URI */
} ledger_strict_t;
ledger_strict_t ledger_strict(ledger_t *l, const ledger_subject_t *s, uint64_t began);

/* Random, made once for a state directory. Whoever keeps positions elsewhere (a disk tier) records it and drops
 * everything that was recorded under another one. */
uint64_t ledger_epoch(const ledger_t *l);

/* ---- the tier ---- */

/* A position of the purge stream in Redis. run_id "" = none known. */
typedef struct ledger_cursor {
    uint64_t ms, seq;
    char run_id[41];
} ledger_cursor_t;

typedef struct ledger_demand {
    ledger_cursor_t cursor; /* the shield must have applied at least this */
    msec_t newer_than; /* and may not use a copy whose fetch began longer ago than this many ms; -1 = no such demand */
} ledger_demand_t;

/* What a request to the shield for that URI must carry (s->tags are not looked at). Consistent: every entry up to the
 * head at the time of the call is either behind the cursor or in the demand. Which tags the shield's copy has is not
 * known here, so any purge by tag that is outside the stream counts as covering it. */
void ledger_demand(ledger_t *l, const ledger_subject_t *s, msec_t now_boot, ledger_demand_t *out);

/* ---- appending (purge.c) ---- */

typedef enum ledger_kind {
    LEDGER_URL,      /* digest = key_uri_digest(uri) */
    LEDGER_TAG,      /* digest = tags_digest(tag) */
    LEDGER_PREFIX,   /* digest = hash_digest(prefix), length = its bytes */
    LEDGER_HOST,     /* digest = hash_digest(host as in uri, or without its port) */
    LEDGER_ALL,      /* no digest */
    LEDGER_SITE,     /* everything of the hosts that a pattern names: digest = ledger_site_digest(pattern) */
    LEDGER_SITE_TAG, /* digest = ledger_site_tag_digest(pattern, tag) */
    LEDGER_KINDS
} ledger_kind_t;

typedef struct ledger_value {
    digest_t digest;
    uint32_t length;
    ledger_kind_t kind;
} ledger_value_t;

digest_t ledger_site_digest(span_t pattern); /* "www.example.com", "*.example.com", "*" */
digest_t ledger_site_tag_digest(span_t pattern, digest_t tag);

typedef struct ledger_entry {
    mark_t level; /* MARK_SOFT, MARK_STRICT or MARK_HARD */
    const ledger_value_t *values;
    size_t n;
    bool outside; /* not (yet) known to be behind the stream's cursor: part of every demand until ledger_confirm */
    bool gap;     /* it never will be, and covers everything: part of every demand from now on */
    msec_t boot;  /* when it was applied here; for demands */
    const ledger_cursor_t *cursor; /* not NULL: the cursor moves in the same step */
} ledger_entry_t;

/* What collapsed, for the journal: the marks of everything are raised at least so far. */
typedef struct ledger_collapse {
    uint64_t cut; /* not 0: a collapse is complete, no value is left whose positions are all <= cut */
    uint64_t hard, strict;
} ledger_collapse_t;

/* Returns the entry's position. n == 0 moves the cursor only and returns the head. */
uint64_t ledger_append(ledger_t *l, const ledger_entry_t *e, ledger_collapse_t *collapsed);
/* Values that were applied before and are (still) outside the stream: after a restart. */
void ledger_outside(ledger_t *l, const ledger_value_t *values, size_t n, msec_t boot);
/* An entry that was appended as `outside` is now behind the cursor: same values. */
void ledger_confirm(ledger_t *l, const ledger_value_t *values, size_t n);
void ledger_set_cursor(ledger_t *l, const ledger_cursor_t *c);
void ledger_cursor(ledger_t *l, ledger_cursor_t *out);

/* Nothing stored, running or queued anywhere began before `floor` without having been checked (and its mark kept) up to
 * it: the values whose positions are all <= floor are dropped, a part of the table at a time (not on an event loop:
 * milliseconds for a million). What turns up nevertheless with an older checked_to is MARK_HARD: whether a forgotten
 * purge was hard can't be told any more, and a validation would revive what was. */
size_t ledger_compact(ledger_t *l, uint64_t floor);

typedef struct ledger_stats {
    uint64_t head, floor, compacted, collapses;
    size_t values, max_values, bytes, lengths, invalidated, outside;
} ledger_stats_t;
void ledger_stats(ledger_t *l, ledger_stats_t *out);

/* ---- life, and loading by the journal ---- */

typedef struct ledger_marks {
    uint64_t hard, soft, strict; /* positions; 0 = never */
} ledger_marks_t;

/* max_values 0 = LEDGER_MAX_VALUES. Head is 0. */
ledger_t *ledger_new(uint64_t epoch, size_t max_values);
void ledger_free(ledger_t *l);
void ledger_load_value(ledger_t *l, const ledger_value_t *v, const ledger_marks_t *m);
void ledger_load_all(ledger_t *l, const ledger_marks_t *all, uint64_t compacted);
void ledger_load_head(ledger_t *l, uint64_t head);

#endif
