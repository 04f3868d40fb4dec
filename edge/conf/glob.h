/* Globs over normalised paths: one star stands for any bytes within a segment, two stars for any bytes across segments;
 * as a whole directory, two stars also stand for no directory at all. A glob that ends in a slash and two stars matches
 * what ends in that slash. Pure; the time to match grows with the path's length only, whatever the glob. */
#ifndef BRINK_CONF_GLOB_H
#define BRINK_CONF_GLOB_H

#include "edge/base/arena.h"
#include "edge/base/err.h"

enum { GLOB_MAX_BYTES = 255 }; /* other than stars, in normal form */

typedef struct glob {
    span_t text;           /* as written; absent: matches nothing */
    span_t prefix;         /* every match begins with it */
    uint16_t length;       /* literal bytes = the accepting state */
    uint16_t classes;      /* distinct literal bytes */
    uint8_t words;         /* of 64 states each */
    bool exact;            /* no star: the prefix is all of it */
    bool tail;             /* the prefix, then anything */
    uint8_t class_of[256]; /* 0: occurs nowhere */
    const uint64_t *masks; /* private to glob.c */
} glob_t;

/* Compiles into the arena. ERR_SYNTAX: *why (static) says what would be right. ERR_TOO_BIG. */
err_t glob_compile(arena_t *a, span_t text, glob_t *out, const char **why);
/* Does `g` surely match all that `other` does? Told of equal ones, and of "/prefix/" with two stars; else false. */
bool glob_covers(const glob_t *g, const glob_t *other);
bool glob_match(const glob_t *g, span_t path);

#endif
