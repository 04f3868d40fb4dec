/* Structured Fields (RFC 9651): dictionaries, lists and items, parsed strictly and without allocation. Pure.
 *
 * A value is checked to its end when it is returned, parameters and inner list included; those are kept as views of
 * their text and read with an iterator of their own, which then can't fail:
 *
 *   sf_t it;  sf_init(&it, joined);            // all lines of the field: fields_join
 *   while ((e = sf_dictionary_next(&it, &key, &v)) == ERR_OK) …
 *   if (e != ERR_NOT_FOUND) the whole field is invalid, also what was returned before (RFC 9651 4.2)
 *
 * So act only after the end was reached. Of a repeated key the last counts (RFC 9651 4.2.2); every occurrence is
 * returned. Ceilings: none beyond the field's own size; everything is linear in it and nothing recurses. */
#ifndef BRINK_HTTP_SF_H
#define BRINK_HTTP_SF_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/base/span.h"

typedef enum sf_type {
    SF_INTEGER,
    SF_DECIMAL,
    SF_STRING,
    SF_TOKEN,
    SF_BYTES,
    SF_BOOLEAN,
    SF_DATE,
    SF_DISPLAY, /* display string, RFC 9651 3.3.8 */
    SF_INNER_LIST
} sf_type_t;

typedef struct sf_value {
    sf_type_t type;
    int64_t number; /* integer; decimal in thousandths; boolean 0 or 1; date in Unix seconds */
    span_t text;    /* token; string and display string between the quotes, still escaped; base64 of bytes; inner list
                     * between    the parentheses. Views into the input. sf_text decodes */
    span_t params;  /* ";a=1;b" or empty: for sf_params_next */
} sf_value_t;

typedef struct sf {
    const char *p, *end;
    bool begun;
} sf_t;

void sf_init(sf_t *it, span_t text);
/* ERR_OK: a member. ERR_NOT_FOUND: the end. ERR_SYNTAX: the field is invalid. */
err_t sf_dictionary_next(sf_t *it, span_t *key, sf_value_t *out);
err_t sf_list_next(sf_t *it, sf_value_t *out);
/* After sf_init(it, value.text) of an inner list, and sf_init(it, value.params). */
err_t sf_inner_next(sf_t *it, sf_value_t *out);
err_t sf_params_next(sf_t *it, span_t *key, sf_value_t *out);
/* The whole field as one item (never an inner list). */
err_t sf_item(span_t text, sf_value_t *out);
/* The last parameter of that name; false when there is none. */
bool sf_param(const sf_value_t *v, span_t key, sf_value_t *out);

/* What a string, display string (UTF-8), byte sequence or token means: a view of the input where nothing is escaped,
 * else in the arena. .p == NULL: another type, or the arena is full. */
span_t sf_text(const sf_value_t *v, arena_t *a);

/* Writing: may this text stand as a token (RFC 9651 3.3.4)? */
bool sf_token_valid(span_t s);
/* As a token if it can be one, else as a quoted string; .p == NULL when it can be neither (not printable ASCII) or the
 * arena is full. */
span_t sf_write_name(arena_t *a, span_t s);

#endif
