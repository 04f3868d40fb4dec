/* The dashboard at "/": one page, nothing from outside, under a policy that allows nothing but its own style and
 * script. */
#ifndef BRINK_ADMIN_DASHBOARD_H
#define BRINK_ADMIN_DASHBOARD_H

#include "edge/http/handler.h"

/* A handler_fn; needs no ctx. It shows what /metrics, /readyz and /v1/status say; for the last it asks for a token when
 * it must. */
handler_fn dashboard_page;

/* dashboard_text.c */
extern const char dashboard_style[], dashboard_body[], dashboard_script[];

#endif
