/* What an operator may say about a site, as plain structures. conf fills them in; policy reads them. Pure. */
#ifndef BRINK_POLICY_RULES_H
#define BRINK_POLICY_RULES_H

#include "edge/base/span.h"
#include "edge/base/time.h"

#define RULES_UNSET ((msec_t)-1)

/* The settings in force for one path: first match wins, per setting (conf resolves that). */
typedef struct rules {
    msec_t ttl;                    /* where the response says nothing; RULES_UNSET */
    msec_t override_ttl;           /* whatever the response says; RULES_UNSET */
    msec_t stale_while_revalidate; /* the response's own value wins; RULES_UNSET */
    msec_t stale_if_error;
    bool cache;            /* false: never look up, never store */
    bool must_sign;        /* only for who has a signed URL or cookie */
    bool override_private; /* override_ttl also applies to private, no-store, Set-Cookie, Authorization */
} rules_t;

#define RULES_DEFAULT                                                                                                  \
    ((rules_t){.ttl = RULES_UNSET,                                                                                     \
               .override_ttl = RULES_UNSET,                                                                            \
               .stale_while_revalidate = RULES_UNSET,                                                                  \
               .stale_if_error = RULES_UNSET,                                                                          \
               .cache = true})

typedef enum key_query { KEY_QUERY_ALL, KEY_QUERY_NONE, KEY_QUERY_ONLY, KEY_QUERY_EXCEPT } key_query_t;

typedef struct key_rules {
    key_query_t query;
    const span_t *query_names; /* for ONLY and EXCEPT; a name may end in '*' */
    size_t query_names_n;
    bool sort;             /* by name, stable */
    const span_t *cookies; /* cookie names that are part of the key */
    size_t cookies_n;
} key_rules_t;

#endif
