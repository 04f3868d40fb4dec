/* Header fields as a list of views, in the order received. Pure.
 *
 * `fields_t` owns nothing but the array (from an arena); names and values belong to whoever they were read from. Names
 * are lower case throughout (callers lower them once, at the edge of the program). A field that came on several lines
 * stands several times; fields_join gives the list form of RFC 9110 5.3. Values have no whitespace around them. */
#ifndef BRINK_HTTP_FIELDS_H
#define BRINK_HTTP_FIELDS_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/base/span.h"

enum {
    FIELDS_MAX_COUNT = 128,      /* lines in one message; more is 431 from a client, 502 from an upstream */
    FIELDS_MAX_BYTES = 64 * 1024, /* names and values together */
    FIELDS_MAX_ADDED = 16,        /* lines that a node adds to a request on its way: a shield takes as many more than */
    FIELDS_MAX_ADDED_BYTES = 4096 /* an edge, and so many bytes */
};

typedef struct field {
    span_t name, value;
} field_t;

typedef struct fields {
    field_t *v;
    size_t n, cap;
    arena_t *arena; /* grows v; NULL for a fixed array */
} fields_t;

void fields_init(fields_t *f, arena_t *arena);
/* ERR_TOO_BIG beyond FIELDS_MAX_COUNT, or when the array or its arena is full. Copies neither; checks neither. */
err_t fields_add(fields_t *f, span_t name, span_t value);
/* First line of that name: its value, or .p == NULL. */
span_t fields_get(const fields_t *f, span_t name);
/* Next line of that name at or after *at; *at moves behind it. For (size_t i = 0; fields_next(f, name, &i, &v);) */
bool fields_next(const fields_t *f, span_t name, size_t *at, span_t *value);
bool fields_has(const fields_t *f, span_t name);
size_t fields_count(const fields_t *f, span_t name);
/* All lines joined by ", " (copied into the arena only when there is more than one); .p == NULL when absent or the
 * arena is full. */
span_t fields_join(const fields_t *f, span_t name, arena_t *arena);
void fields_remove(fields_t *f, span_t name);             /* all lines; order of the rest is kept */
err_t fields_set(fields_t *f, span_t name, span_t value); /* remove, then add */
/* Takes off what concerns one connection: Connection, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade,
 * HTTP2-Settings, and what Connection names (RFC 9110 7.6.1). Names of end-to-end fields that the cache relies on
 * (Cache-Control, Vary, Set-Cookie, CDN-Loop, Brink-* …) are ignored there, and so are names beyond the 64th. */
void fields_remove_hop_by_hop(fields_t *f);
bool fields_name_valid(span_t name);   /* a token of either case, RFC 9110 5.1 */
bool fields_value_valid(span_t value); /* no CR, LF, NUL, other control characters but HTAB: RFC 9110 5.5 */

/* ---- the packed form that stored responses keep: one allocation, written once, read in order ---- */
typedef struct fieldblock {
    uint32_t size : 24; /* of bytes[] */
    uint32_t count : 8;
    char bytes[]; /* private to fieldblock.c */
} fieldblock_t;

/* malloc'ed; free() releases. ERR_TOO_BIG over the ceilings above; ERR_SYNTAX for a name that is no lower-case token or
 * a value with control characters. */
/* The same block once more; the caller's to free. */
fieldblock_t *fieldblock_copy(const fieldblock_t *b);
err_t fieldblock_pack(const fields_t *f, fieldblock_t **out);
/* Iterates: pos starts at 0. The views live as long as the block. */
bool fieldblock_next(const fieldblock_t *b, size_t *pos, field_t *out);
span_t fieldblock_get(const fieldblock_t *b, span_t name);
/* Views into the block as a list (array from the arena). */
err_t fieldblock_unpack(const fieldblock_t *b, arena_t *arena, fields_t *out);
/* Checks bytes from disk before they are iterated: ERR_CORRUPT unless every length fits, all ceilings hold, and every
 * name and value is one that fieldblock_pack would have taken. The bytes need no alignment. */
err_t fieldblock_validate(const char *bytes, size_t size, uint16_t count);

#endif
