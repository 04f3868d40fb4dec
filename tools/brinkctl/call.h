/* Calls to a node's admin API. */
#ifndef BRINK_TOOLS_BRINKCTL_CALL_H
#define BRINK_TOOLS_BRINKCTL_CALL_H

#include <jansson.h>

#include "edge/base/time.h"
#include "tools/brinkctl/args.h"

/* What the program ends with: 0 only when what was asked for was reached. */
enum {
    CALL_EXIT_OK = 0,
    CALL_EXIT_REFUSED = 1,     /* the node answered, and it is no */
    CALL_EXIT_UNREACHABLE = 3, /* no answer from the node */
    CALL_EXIT_PARTIAL = 4      /* accepted and in force, though not yet everywhere that was asked for */
};

/* Where the node is and who is asking. Zeroed is the start; release frees. */
typedef struct call {
    const char *admin;             /* URL; or unix:PATH */
    const char *ca;                /* PEM file that the node's certificate is checked with; NULL: the system's */
    const char *certificate, *key; /* PEM files of this client; NULL: none */
    char *token;                   /* NULL: none */
} call_t;

typedef struct call_answer {
    long status;
    char *body; /* NUL behind it; call_answer_release frees */
    size_t n;
} call_answer_t;

/* Takes --admin, --token-file, --ca, --certificate or --key if one of them is next. */
bool call_option(call_t *c, args_t *a);
/* After the last option: what the environment says (BRINK_ADMIN, BRINK_TOKEN) where no option did. */
void call_ready(call_t *c, const args_t *a);
void call_release(call_t *c);

/* One request. json: the body, or NULL. CALL_EXIT_OK when there was an answer, whatever its status; otherwise
 * CALL_EXIT_UNREACHABLE, and why has been printed. */
int call_do(const call_t *c, const char *method, const char *path, const char *json, msec_t timeout,
            call_answer_t *out);
void call_answer_release(call_answer_t *answer);
/* The body as JSON, or NULL; json_decref releases. */
json_t *call_json(const call_answer_t *answer);
/* Prints what an answer with an error says: the title and detail of a problem (RFC 9457), or the body. */
void call_problem(const call_t *c, const call_answer_t *answer);

#endif
