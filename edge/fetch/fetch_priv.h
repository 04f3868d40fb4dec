/* Inside of a fetch, for the files of this folder. */
#ifndef BRINK_FETCH_FETCH_PRIV_H
#define BRINK_FETCH_FETCH_PRIV_H

#include "edge/fetch/fetch.h"

typedef struct fetch_pieces fetch_pieces_t;

struct fetch {
    atomic_int refs;
    notice_t notice;
    fetch_deps_t *deps;
    store_t *store;
    fetch_spec_t spec; /* with everything it points to copied into the arenas or referenced */
    cache_key_t key;
    fields_t request, forward; /* in `message`, as is spec.body: until the fetch has ended */
    arena_t message;
    msec_t started_wall;
    const unsigned *labels; /* of metrics, by the index of its configuration's upstreams */
    arena_t arena;          /* written before the fetch is published, and by its owner while WAITING */

    /* ---- published by phase (release) ---- */
    _Atomic int phase;
    fetch_response_t response;
    upstream_result_t result;
    const char *upstream_name;
    int64_t head_nanos;
    struct {
        object_t *_Atomic of;                /* the head; NULL: it brings no pieces */
        _Atomic uint64_t first, end;         /* which of them, */
        _Atomic uint64_t next;               /* the one that comes next, */
        _Atomic uint64_t oldest;             /* and those from here to there are held */
        object_t *piece[FETCH_SLICE_PIECES]; /* by number, modulo; guarded by mutex */
        _Atomic bool over;
        bool disowned; /* published by phase, too */
    } slice;                          /* what is brought for those who wait for pieces */
    fetch_interim_t *_Atomic interim; /* a list that only grows; its owner appends */
    _Atomic bool windowed;            /* not to be stored: readers hold it back, what they have read is freed */

    /* ---- owner only ---- */
    upstream_call_t *call;
    route_t route;
    upstreams_target_t hop; /* .health NULL: none is running */
    health_waiter_t waiter; /* for a place at the hop, */
    health_server_t *place; /* here */
    loop_message_t told;    /* waiter → owner */
    loop_timer_t patience;
    list_t queued_link; /* in deps->queued while it waits */
    bool queued;
    fetch_interim_t *last_interim;
    unsigned interims;
    uint64_t object_began; /* of the response: that of its oldest bytes */
    uint64_t oldest;       /* what that may turn out to be */
    int64_t expected;      /* length of the body that is arriving; -1 unknown */
    bool completing;       /* the rest of spec.part was asked for; and after the head: it is coming */
    bool validators_sent, paused, settled, ended;
    loop_timer_t late;           /* spec.deadline has passed */
    int status;                  /* that the attempt which is running was answered with; 0: not yet */
    bool filling;                /* counted as a fill */
    const conf_origin_t *failed; /* of the attempt before */
    struct {
        unsigned tries; /* so far, for this body */
        unsigned idle;  /* of these, in a row without one byte */
        uint64_t skip;  /* bytes that the server sends once more */
        int64_t whole;  /* length of the whole body, learnt from Content-Range; 0 unknown */
    } resume;
    msec_t request_time; /* wall: of the attempt that is running */
    int64_t started_nanos, sent_nanos;
    msec_t sent;            /* this attempt (boot) */
    uint64_t reserved;      /* bytes of the memory budget held for the body, until its last reader is gone */
    uint64_t held;          /* bytes of its window, among those of all; with */
    uint64_t aside;         /* what the upstream client holds because the window is full */
    fetch_pieces_t *pieces; /* cuts what arrives for the disk; NULL: nobody does */
    loop_message_t nudge;   /* readers → owner: consumed, or gone */

    /* ---- readers ---- */
    pthread_mutex_t mutex; /* guards readers, nudged, had_reader, closed, slice.piece */
    list_t readers;
    bool nudged;
    bool had_reader;
    bool closed; /* takes no new readers: they would miss the beginning */
};

/* fetch.c */
void fetch_publish(fetch_t *f, fetch_phase_t phase);
void fetch_settle(fetch_t *f);
/* Nothing is asked of an upstream any more. */
void fetch_forget_message(fetch_t *f);
/* What arrives is for the readers of now alone. */
void fetch_close(fetch_t *f);
/* Closed, and the last reader has left (or there never was one). */
bool fetch_unwanted(fetch_t *f);
bool fetch_window_full(fetch_t *f);
/* So many bytes more are held of a response that isn't stored: they count, and if there is room, in the budget. */
void fetch_window_grows(fetch_t *f, size_t bytes);
/* So many bytes are held by the upstream client now. */
void fetch_aside(fetch_t *f, uint64_t bytes);

/* fetch_fsm.c: drives the attempts. */
void fetch_fsm_begin(fetch_t *f);
void fetch_fsm_resume(fetch_t *f);
void fetch_fsm_abandon(fetch_t *f);

void fetch_fsm_start(fetch_t *f, const fields_t *fields, const upstream_events_t *events, msec_t delay);
bool fetch_fsm_on_body(void *arg, span_t bytes);
void fetch_fsm_on_aside(void *arg, size_t bytes);
void fetch_fsm_on_done(void *arg, upstream_result_t result);
void fetch_fsm_admitted(fetch_t *f);                          /* there is a place at f->hop */
void fetch_fsm_unrouted(fetch_t *f);                          /* nobody to send it to */
void fetch_fsm_give_up(fetch_t *f, upstream_result_t result); /* the body stays cut */

/* How long the attempt that is beginning waits for a head: not longer than whoever asked does. So too any timeout. */
msec_t fetch_fsm_patience(const fetch_t *f);
msec_t fetch_fsm_at_most(const fetch_t *f, msec_t timeout);

/* fetch_resume.c: the body was cut. True: the rest is on its way. */
bool fetch_resume_begin(fetch_t *f, upstream_result_t result);

/* fetch_route.c: chooses the next upstream, and adds what it must be told. Every attempt that is GO has one
 * fetch_route_ended, and before it a fetch_route_answered if a head came. */
typedef enum fetch_route_verdict {
    FETCH_ROUTE_GO,
    FETCH_ROUTE_WAIT, /* for a place: fetch_fsm_admitted or fetch_fsm_unrouted follows */
    FETCH_ROUTE_NONE  /* f->result says why, if nothing was tried */
} fetch_route_verdict_t;
void fetch_route_init(fetch_t *f);
fetch_route_verdict_t fetch_route_next(fetch_t *f, bool may_wait);
bool fetch_route_address(fetch_t *f, fields_t *fields); /* false: it can't be; ask for the next */
/* Where a server is and how it is spoken to; `site` NULL: it is a shield node. */
upstream_target_t fetch_route_target(const conf_t *conf, const conf_origin_t *server, const conf_site_t *site);
/* The origin answered that it is failing (502, 503, 504). True: another one that is well has a place for the request,
 * this attempt is counted as ended; the caller cancels it and goes on with fetch_fsm_admitted. */
bool fetch_route_elsewhere(fetch_t *f, int status);
void fetch_route_leave(fetch_t *f); /* stops waiting, if it waits */
void fetch_route_answered(fetch_t *f, int status);
void fetch_route_ended(fetch_t *f, upstream_result_t result);

/* fetch_parts.c: parts of representations (RFC 9111 3.3, 3.4). */
/* Asks for the rest of spec.part. */
bool fetch_parts_ask(fetch_t *f, fields_t *fields);
/* Is this 206 that rest? Then `whole` are the fields of both together. */
bool fetch_parts_completes(fetch_t *f, const fields_t *response, int64_t content_length, fields_t *whole);
/* What both together are made of has come: their head's description and stamp are as old as their oldest bytes. */
void fetch_parts_date(const fetch_t *f, stored_t *meta);
void fetch_parts_stamp(fetch_t *f, object_t *o);
/* The ledger's word on spec.part, whose bytes are about to be stored anew. */
mark_t fetch_parts_mark(fetch_t *f);
/* Appends the bytes of spec.part, if they come before those that are arriving, or behind them. */
err_t fetch_parts_before(fetch_t *f);
err_t fetch_parts_behind(fetch_t *f);
/* Stores a complete part, or what it makes with those that are there. `*reserved` is 0 if it has passed to the store,
 * else still the caller's. */
err_t fetch_parts_store(fetch_t *f, object_t *part, uint64_t *reserved);
/* The whole is stored: its parts are of no use any more. */
void fetch_parts_superseded(fetch_t *f, const object_t *whole);
/* The response was cut: what came of it is a part. */
void fetch_parts_keep_cut(fetch_t *f);

/* fetch_pieces.c: responses that are too large for memory. Before the fetch is closed; sets response.whole if others
 * may find them while they come. */
void fetch_pieces_begin(fetch_t *f);
/* Which pieces it brings, of the head in slice.of; before that is published. */
void fetch_pieces_range(fetch_t *f, range_t bytes);
/* The head of what arrives is stored before its pieces: whoever asks finds it, and waits for those. */
void fetch_pieces_announce(fetch_t *f, uint64_t whole, range_t bytes);
/* The same of a body that is those bytes of the whole that the head in slice.of belongs to. */
void fetch_pieces_begin_at(fetch_t *f, range_t bytes);
void fetch_pieces_go_on(fetch_t *f); /* more has come */
void fetch_pieces_end(fetch_t *f, bool whole);
void fetch_pieces_stop(fetch_t *f);
void fetch_pieces_abandon(fetch_deps_t *d);
/* The head of pieces, made of the response that brought some; of->stamp.began is its own. */
object_t *fetch_pieces_head(fetch_t *f, const object_t *of, uint64_t length, uint64_t edition);

/* fetch_invalidate.c: an unsafe method's answer arrived, and has its object. */
void fetch_invalidate(fetch_t *f, int status, const fields_t *fields);

/* fetch_fill.c: turns what arrives into a stored response. */
typedef enum fetch_fill_verdict {
    FETCH_FILL_OK,
    FETCH_FILL_AGAIN_UNCONDITIONAL,
    FETCH_FILL_BAD,
    FETCH_FILL_NOT_IT /* a proper answer, and nothing that could be used */
} fetch_fill_verdict_t;
fetch_fill_verdict_t fetch_fill_head(fetch_t *f, int status, const fields_t *fields, int64_t content_length);
err_t fetch_fill_body(fetch_t *f, span_t bytes);
void fetch_fill_end(fetch_t *f, upstream_result_t result);

/* fetch_slice.c: the head of what was asked for pieces that are missing */
fetch_fill_verdict_t fetch_slice_head(fetch_t *f, int status, const fields_t *fields, int64_t content_length);
/* Is this storable part, which was asked for on trust, a slice of something that belongs on disk? */
bool fetch_slice_found(const fetch_t *f, const stored_t *meta, const fields_t *fields, int64_t content_length);
/* Then its object, whose meta is that of the whole, becomes the head of pieces. */
void fetch_slice_begin(fetch_t *f);

#endif
