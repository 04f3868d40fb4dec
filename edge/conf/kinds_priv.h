/* What the readers of kinds share. A reader is called kind_read_KIND and declared from CONF_KINDS. */
#ifndef BRINK_CONF_KINDS_PRIV_H
#define BRINK_CONF_KINDS_PRIV_H

#include "edge/conf/conf_priv.h"

/* The member that setting `s` of the structure at `base` is read into, and its list's count. */
#define AT(type) ((type *)(void *)(base + s->offset))
#define COUNT_AT ((size_t *)(void *)(base + s->count))

#define X(kind) kind_read_fn kind_read_##kind;
CONF_KINDS(X)
#undef X

/* All that return bool: false after a failure that was recorded. */
bool kind_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node);
bool kind_list(conf_reader_t *r, const conf_setting_t *s, const tree_t *node);
/* Room for a list's elements, and its count; NULL only for an empty list. */
void *kind_elements(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base);
bool kind_element_scalar(conf_reader_t *r, const conf_setting_t *s, const tree_t *node);
/* Visible, and none of `but`. */
bool kind_printable(span_t s, const char *but);
bool kind_text(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base);
/* Which of `words` ("a|b"); -1 after a failure. */
int kind_choose(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, const char *words);
bool kind_address_failed(conf_reader_t *r, err_t e, const conf_setting_t *s, const tree_t *node, const char *why);

#endif
