/* State of one request, for the files of this folder. */
#ifndef BRINK_REQUEST_REQUEST_PRIV_H
#define BRINK_REQUEST_REQUEST_PRIV_H

#include "edge/http/date.h"
#include "edge/http/range.h"
#include "edge/request/request.h"
#include "edge/tbl/metrics.h"

typedef enum request_step {
#define REQUEST_STEP(id, fn) REQUEST_##id,
#include "edge/tbl/request_steps.def"
#undef REQUEST_STEP
    REQUEST_STEPS
} request_step_t;

/* What a step says: go on with rq->step now; somebody was told to call request_fsm_run; the response is complete
 * (on_gone follows). */
typedef enum request_go { REQUEST_MORE, REQUEST_WAIT, REQUEST_DONE } request_go_t;

/* RFC 9211 2.2: why it was forwarded. */
#define REQUEST_FORWARDS(X)                                                                                            \
    X(NONE, "")                                                                                                        \
    X(BYPASS, "bypass")                                                                                                \
    X(METHOD, "method")                                                                                                \
    X(URI_MISS, "uri-miss")                                                                                            \
    X(VARY_MISS, "vary-miss")                                                                                          \
    X(REQUEST, "request")                                                                                              \
    X(STALE, "stale")                                                                                                  \
    X(PARTIAL, "partial")

typedef enum request_forward {
#define X(id, word) FORWARD_##id,
    REQUEST_FORWARDS(X)
#undef X
} request_forward_t;

enum {
    REQUEST_SEGMENTS = RANGE_MAX * 2 + 1, /* of a multipart/byteranges body */
    REQUEST_IOV = 32,
    REQUEST_COLLAPSE_TRIES = 4 /* running fetches whose answer was another variant; then on its own */
};

typedef struct request_segment {
    span_t text;         /* .n > 0: these bytes */
    uint64_t first, end; /* else body bytes [first, end) */
} request_segment_t;

/* Rules that are the path's own: path.def. */
typedef enum path_rule {
#define PATH_RULE(id, word, section, says, then) PATH_##id,
#include "edge/request/path.def"
#undef PATH_RULE
    PATH_RULES
} path_rule_t;

struct promotion;
typedef struct request_pieces request_pieces_t;
typedef struct request_encoder request_encoder_t;

typedef struct request {
    request_env_t *env;
    exchange_t *x;
    upstreams_t *upstreams; /* keeps the configuration */
    const conf_t *conf;
    const unsigned *site_labels, *upstream_labels;
    const conf_site_t *site;
    _Atomic uint32_t *refreshing; /* by site: background refreshes under way; NULL: not counted */
    rules_t rules;
    cache_key_t key;
    span_t pass_target; /* what is forwarded when nothing is cached: the client's own query */
    request_cc_t cc;
    signature_url_t signature; /* as it stood in the target */
    span_t id;                 /* X-Request-Id */
    why_t *why; /* not NULL: explain.c wants to know what would be done. Nothing is changed, counted or sent */
    request_step_t step;
    bool running, again; /* request_fsm_run is on the stack; and was asked for once more */
    bool over;           /* the last send was made */
    bool gone;
    bool cacheable; /* GET or HEAD that may be looked up */
    bool tried_disk, disk_gave_up;
    bool far;           /* asks for one range that is fetched alone (part_far) */
    bool narrow;        /* … exactly as it was asked for, not as the slice that it begins in */
    bool brought;       /* what is delivered from disk was just fetched for this request */
    bool distrust;      /* shield: nothing stored here may answer this edge */
    bool private_fetch; /* its own, uncollapsed, unstored */
    bool alone;         /* its own, uncollapsed: what is stored for the key, or was just fetched, can't be shared */
    bool own;           /* what is delivered was fetched for the cache: conditions and ranges are answered here */
    bool leader, collapsed;
    unsigned tries;

    /* tier */
    bool from_tier;
    tier_t tier;
    ledger_cursor_t tier_cursor;
    msec_t deadline;    /* boot: the edge has to be told of a head, or the failure, by then; 0: none */
    loop_timer_t late;  /* runs while it waits for a fetch of somebody else's, which may have none or a later one */
    msec_t tier_newer;  /* wall: what began before may not be used, if the edge demands anything of that kind */
    msec_t retry_after; /* of an answer of our own; 0: not said */
    bool unreached;     /* the error that is sent stands for an upstream that nobody could reach */
    const char *tier_refused; /* why the tier's signature was not believed */
    loop_message_t caught_up;
    _Atomic int catch_up_state; /* 0 waiting, 1 has it, 2 hasn't */
    atomic_int holds;           /* the exchange, and callbacks that may come from other threads */

    /* lookup */
    object_t *stored;
    object_t *part; /* a stored part of which only the rest need be asked for; NULL: none */
    mark_t mark;
    reuse_verdict_t verdict;
    list_t promotion_link;
    struct promotion *promotion;
    loop_timer_t disk_timer; /* runs while it waits for that */
    uint64_t began;          /* ledger head read before the fetch */

    /* collapse */
    fetch_reader_t reader;          /* .fetch NULL: none */
    const fetch_interim_t *interim; /* the last one that was passed on */

    /* tunnel */
    span_t upgrade; /* what of the client's offer goes on; .p NULL: this asks for no tunnel */
    struct {
        bool open, finished, over; /* over: nothing has moved for too long, or one direction can't end alone */
        msec_t active;             /* boot: last byte in either direction */
        uint64_t in;               /* bytes that came from the client */
        loop_timer_t timer;
    } tunnel;

    /* deliver */
    object_t *object; /* what is being sent */
    request_forward_t forward;
    bool hit, stale_served;
    const char *detail; /* of Cache-Status; static */
    int sent_status;
    int fwd_status;
    span_t cache_status;
    unsigned result; /* LABEL_RESULT_… */
    body_cursor_t cursor;
    request_segment_t whole, *segments;
    size_t segment, segments_n;
    const fields_t *slices_forward; /* slices.c */
    span_t range;                   /* of a far request, as it goes upstream */
    range_t slice;                  /* the same, if that is a slice; else 0 to 0 */
    request_pieces_t *pieces;       /* of a response that lies on disk in pieces; NULL: none */
    object_t *coded;                /* the kept coded form that is sent in place of the object's body; NULL: none */
    request_encoder_t *encoder;     /* codes the body while it is sent; NULL: none */
    coding_t coding;                /* of what is sent */
    span_t synthetic;               /* body of an answer of our own */
    bool head_sent, writing, flushed;
    char date[DATE_LEN + 1];
    const char *upstream; /* points into the configuration that this request holds */
    int64_t upstream_nanos;
} request_t;

/* request_fsm.c */
request_t *request_new(request_env_t *env, exchange_t *x); /* at its first step */
void request_end(request_t *rq);                           /* of the exchange, and what it held for it */
void request_fsm_run(request_t *rq);
void request_hold(request_t *rq);
void request_drop(request_t *rq);
object_t **request_take(object_t **slot, object_t *o); /* replaces the reference in slot by o's */

/* The steps. */
request_go_t accept_step(request_t *rq);
request_go_t accept_caught_up(request_t *rq);
msec_t accept_deadline(const request_t *rq); /* of what is asked for now; boot; 0: none */
request_go_t lookup_step(request_t *rq);
request_go_t collapse_step(request_t *rq);
request_go_t collapse_await(request_t *rq);
request_go_t deliver_step(request_t *rq);

/* admit.c: the site's access rules. False: it is answered. */
bool admit_client(request_t *rq, request_go_t *go);
/* Takes a signature out of the target, before the key is made of it; and, once path and rules are known, judges it. */
err_t admit_split(request_t *rq);
bool admit_signed(request_t *rq, request_go_t *go);

/* lookup_disk.c */
/* Does a record on disk belong to that key, and is it selected by these fields? */
bool lookup_disk_selects(span_t key, span_t selecting, span_t asked, const fields_t *fields);
/* Asks the disk. True: wait for it. False: rq->stored is what it had, or NULL. */
bool lookup_disk(request_t *rq);
void lookup_cancel(request_t *rq);

/* lookup.c */
bool lookup_match(const object_t *o, void *arg); /* arg: the request_t */
/* A shield's copy whose fetch began at `started` (wall) is older than the asking edge allows. */
bool lookup_too_old(const request_t *rq, msec_t started);
/* Is that stored part enough for this request? Then `ranges` are what it asks for, counted within the whole. */
bool lookup_part_answers(const request_t *rq, const object_t *o, range_t ranges[RANGE_MAX], size_t *n);
/* Do the selecting fields of a response select it for this request (RFC 9111 4.1)? */
bool lookup_selects(const request_t *rq, span_t selecting);
/* The ledger's word on a stored response, for this request. */
mark_t lookup_mark(request_t *rq, object_t *o);
ledger_strict_t lookup_strict(const request_t *rq, const object_t *o); /* why it is MARK_STRICT */
ledger_subject_t lookup_subject(const object_t *o);

/* early.c: should this fresh and popular response be refreshed already? */
bool early_due(request_t *rq);

/* collapse.c */
/* A fetch in the background (stale-while-revalidate, early refresh), unless one runs or the site's origin has as many
 * as `refill` allows. True: begun. */
bool collapse_refresh(request_t *rq);
/* A running fetch for that key that fits (asked under a lock: it only looks), with a reference; where there is none,
 * `mine` is entered, if that is not NULL. */
fetch_t *collapse_running(collapse_t *c, digest_t digest, bool (*fits)(fetch_t *f, void *arg), void *arg,
                          fetch_t *mine);
void collapse_settled(fetch_t *f, void *collapse); /* on_settled of what was entered */
void collapse_leave(request_t *rq);
/* What the next fetch would validate; NULL: nothing may be. */
object_t *collapse_validates(request_t *rq);
bool collapse_past_shields(const request_t *rq); /* a shield's word would not do */
/* If the upstream fails: may what is stored be sent all the same? */
bool collapse_stale_allowed(request_t *rq);
/* And if nobody upstream can be reached, or what answers is no HTTP (upstream_disconnected)? */
bool collapse_disconnected_allowed(request_t *rq);
void collapse_alone(request_t *rq); /* the next fetch is for this request only */

/* forward.c: the fields of the request that goes upstream. `own` true: on behalf of the cache (no conditions, no
 * ranges, nothing that isn't in the key and is known to change answers). */
err_t forward_fields(request_t *rq, bool own, fields_t *out);
bool forward_signs(const request_t *rq); /* carries a signature over fields that are not in the key */

/* slices.c: a fetch that brings that piece, with a reference; NULL: it can't be had. `*mine`: not yet running. */
/* The slice that a far range begins in; 0 to 0: that can't be told. */
range_t slices_widened(const request_t *rq);
fetch_t *slices_fetch(request_t *rq, object_t *head, uint64_t number, bool *mine);
/* That piece, if a running fetch has brought it and still holds it, with a reference. */
object_t *slices_held(request_t *rq, object_t *head, uint64_t number);

/* pieces.c: the body of a response whose object is the head of pieces (OBJECT_PIECES). */
/* Bytes whose fetch began there have passed whatever the head passed when it was found: they are no older. */
bool pieces_as_good(const object_t *head, uint64_t began);
/* Before the head of the answer is sent: is what those segments lack still to be had of this version? Only the first
 * missing piece is asked for; what its answer says is true of the others, too. */
typedef enum pieces_sure {
    PIECES_SURE, /* yes, as far as can be told */
    PIECES_WAIT, /* request_fsm_run follows */
    PIECES_GONE, /* it is another version now, and what was stored is no more */
    PIECES_AWAY  /* the first bytes themselves can't be had now, for that reason */
} pieces_sure_t;
pieces_sure_t pieces_sure(request_t *rq, const request_segment_t *segments, size_t n, upstream_result_t *away);
/* What was given by pieces_read has been sent. */
void pieces_sent(request_t *rq);
/* Bytes from rq->cursor.at on, not beyond `end`; moves the cursor. What it lacks is being read: request_fsm_run
 * follows.
 */
size_t pieces_read(request_t *rq, uint64_t end, struct iovec *v, size_t max_v, size_t max_bytes);
/* What comes next isn't there any more. */
bool pieces_lost(request_t *rq);
/* May all pieces of a stored head be there, as far as memory knows? Where one surely isn't, and nothing could be added
 * for want of a strong validator, it is no response any more. */
bool pieces_there(const request_t *rq, const object_t *head);
void pieces_close(request_t *rq);

/* encode.c */
/* Would this object's body be coded for a client that wants it? Then its answers depend on Accept-Encoding. */
bool encode_could(const request_t *rq, const object_t *o, const stored_t *meta, int64_t length);
coding_t encode_wanted(const request_t *rq, const object_t *o); /* which coding this client gets, if it could */
/* For explain: the coding that this request would get of a stored object, and why. */
typedef struct encode_told {
    coding_t coding;
    why_rule_t why;
} encode_told_t;
encode_told_t encode_explain(const request_t *rq, const object_t *o, const stored_t *meta, const fields_t *fields,
                             int64_t length);
/* The whole body is to be sent in coding `c` (not identity): arranges for it. Answers the coding that it is (may be
 * identity after all); then `*sent` is the length of what is sent; -1: unknown. */
coding_t encode_begin(request_t *rq, coding_t c, int64_t length, int64_t *sent);
/* With rq->encoder: the next slice, coded, good until the next call. `*last`: nothing comes after it. */
size_t encode_gather(request_t *rq, struct iovec *v, bool *last, bool *failed);
void encode_close(request_t *rq);
/* The stored fields as a form in coding `c`, or a 304 for it, has them: each goes through encode_field (false: it is
 * left out). */
typedef struct encode_fields {
    coding_t coding;
    int status;
    bool vary; /* Accept-Encoding is still to be named */
} encode_fields_t;
bool encode_holds(const request_t *rq, const stored_t *meta); /* an origin's 304, to who holds a coded form? */
void encode_fields_begin(encode_fields_t *e, const fieldblock_t *block, int status, bool could, coding_t c);
bool encode_field(request_t *rq, encode_fields_t *e, field_t *f);
void encode_fields_end(const encode_fields_t *e, fields_t *out);

/* tunnel.c */
/* Does the request ask for a protocol that the site lets through? Sets rq->upgrade. */
bool tunnel_wanted(request_t *rq);
/* The head of 101 goes out now. */
void tunnel_open(request_t *rq);
/* Moves what the client has sent. False: the tunnel is to end. */
bool tunnel_pump(request_t *rq);
void tunnel_sent(request_t *rq);  /* bytes are going to the client */
void tunnel_close(request_t *rq); /* of any request */

/* deliver.c */
void deliver_object(request_t *rq, object_t *o); /* takes a reference of its own; next step DELIVER */
/* An answer of our own: status, Cache-Status detail (may be NULL), a sentence for people. */
request_go_t deliver_error(request_t *rq, int status, const char *detail, const char *sentence);
void deliver_writable(request_t *rq);

/* cache_status.c */
void cache_status_add(request_t *rq, fields_t *out, span_t upstream_members);

/* explain.c */
/* A rule of the path itself (path.def), told where somebody wants to know. Answers `holds`. */
bool explain_ask(request_t *rq, path_rule_t rule, bool holds);
/* deliver_error's part where nothing is sent. */
request_go_t explain_refused(request_t *rq, int status, const char *detail, const char *sentence);

/* finish.c */
void finish_request(request_t *rq);

#endif
