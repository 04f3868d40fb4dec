/* Private to edge/conf: the snapshot behind conf_t, and the table of settings that the reader walks. */
#ifndef BRINK_CONF_CONF_PRIV_H
#define BRINK_CONF_CONF_PRIV_H

#include <stdatomic.h>

#include "edge/conf/conf.h"
#include "edge/conf/glob.h"
#include "edge/conf/tree.h"

struct conf_rule {
    glob_t glob;
    rules_t values;                            /* its bools stand in the switches below */
    int8_t cache, override_private, must_sign; /* -1: not set here */
};

typedef struct conf_host {
    span_t pattern; /* .p NULL: an empty slot */
    const conf_site_t *site;
} conf_host_t;

typedef struct conf_snapshot {
    conf_t pub;
    atomic_uint refs;
    arena_t arena;
    conf_host_t *hosts; /* open addressing by hash_64 of the pattern; hosts_mask + 1 slots */
    size_t hosts_mask;
    size_t wildcard_most;   /* bytes of the longest "*." pattern: longer suffixes needn't be looked up */
    const conf_site_t *any; /* of "*" */
} conf_snapshot_t;

/* ---- the table made of edge/tbl/config.def ---- */
#define CONF_KINDS(X)                                                                                                  \
    X(NAME)                                                                                                            \
    X(FILE)                                                                                                            \
    X(SECRET)                                                                                                          \
    X(HOST) X(COUNT) X(SIZE) X(DURATION) X(DURATION_OR_NEVER) X(BOOL) X(SWITCH) X(AUTO) X(WORD) X(ADDRESS) X(SHA256)   \
        X(ALLOW) X(HOSTS) X(TARGET) X(ORIGIN) X(ORIGINS) X(TOKENS) X(QUERY) X(COMPRESS) X(GLOB) X(REDIS) X(REDIS_KEY)  \
            X(CHANNEL) X(LOG_ACCESS) X(NETWORKS) X(CLIENT) X(UPGRADE) X(MAP) X(MAPS)

typedef enum conf_kind {
#define X(kind) CONF_KIND_##kind,
    CONF_KINDS(X)
#undef X
} conf_kind_t;

typedef enum conf_section_id {
#define SECTION(id, name, doc) SECTION_##id,
#define SETTING(...)
#define END(id)
#include "edge/tbl/config.def"
#undef SECTION
#undef SETTING
#undef END
    SECTIONS
} conf_section_id_t;

enum conf_flag { REQUIRED = 1u << 0, OPTIONAL = 1u << 1, RESTART = 1u << 2 };
enum { CONF_MAX_SETTINGS = 32 }; /* in one section */

typedef struct conf_setting {
    const char *key;
    conf_kind_t kind;
    size_t offset;  /* of the member */
    size_t count;   /* lists: offset of the number of elements */
    size_t element; /* lists: bytes of one */
    const char *dflt, *dflt_doc, *words, *doc;
    int64_t min, max;
    conf_section_id_t child;
    unsigned flags;
} conf_setting_t;

typedef struct conf_section {
    const char *id, *name, *doc;
    const conf_setting_t *settings;
    size_t n;
} conf_section_t;

extern const conf_section_t conf_sections[SECTIONS];

/* ---- reading ---- */
typedef struct conf_reader {
    conf_snapshot_t *snapshot; /* what is being filled */
    arena_t *arena;            /* its arena */
    arena_t *scratch;          /* for the tree */
    span_t dir;                /* of the configuration file: "" or ending in '/' */
    conf_error_t *err;
    err_t code; /* of the first problem */
    conf_warning_t *warnings;
    size_t warnings_n, warnings_cap;
} conf_reader_t;

/* Records the first problem; always false, so that readers can return it. */
bool reader_fail(conf_reader_t *r, err_t code, const tree_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void reader_warn(conf_reader_t *r, const tree_t *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Reads a mapping into the structure at `base`; node NULL: all defaults. */
bool reader_section(conf_reader_t *r, const conf_section_t *section, const tree_t *node, char *base);
/* Child of a mapping; NULL when absent (also for node NULL). */
const tree_t *reader_child(const tree_t *node, const char *key);
/* One value by its kind, into the member at `at` of the structure at `base`. */
typedef bool kind_read_fn(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base);
extern kind_read_fn *const kind_readers[];
const char *kind_doc(conf_kind_t kind);               /* what it looks like, for the reference */
void kind_unset(const conf_setting_t *s, char *base); /* what an absent setting without a default holds */

/* Everything that concerns more than one setting; builds the indexes. */
bool validate_all(conf_reader_t *r, const tree_t *root);

#endif
