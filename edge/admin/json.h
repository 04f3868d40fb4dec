/* What the admin API's answers in JSON have in common. */
#ifndef BRINK_ADMIN_JSON_H
#define BRINK_ADMIN_JSON_H

#include <jansson.h>

#include "edge/base/span.h"

/* A string whatever the bytes: what is no UTF-8, and NUL, becomes U+FFFD. null for .p NULL. */
json_t *admin_json_text(span_t s);

#endif
