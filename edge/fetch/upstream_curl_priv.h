/* What the files over libcurl know of each other: the multi handle on the loop, and what runs on it. */
#ifndef BRINK_FETCH_UPSTREAM_CURL_PRIV_H
#define BRINK_FETCH_UPSTREAM_CURL_PRIV_H

#include <curl/curl.h>

#include "edge/fetch/upstream_curl.h"

enum {
    UPSTREAM_CURL_POOL = 512,         /* idle connections kept by one loop */
    UPSTREAM_CURL_LIFETIME = 60,      /* s that a connection to a name is used again: then to its newest address */
    UPSTREAM_CURL_BATCH = 16,         /* requests begun in one turn of the loop */
    UPSTREAM_CURL_BUFFER = 128 * 1024 /* read at once */
};

typedef struct upstream_curl {
    upstream_t base;
    CURLM *multi;
    struct resolve *resolve; /* NULL: names are curl's own business */
    CURLSH *share;           /* TLS sessions: without it each easy handle remembers its own alone */
    int epoll_fd;
    loop_timer_t timer;
    loop_message_t kick; /* runs curl after upstream_start, outside of the caller's stack */
    bool kicked;
    list_t pending; /* started, not yet given to curl: it must not be entered from its own callbacks */
    list_t calls;
    int depth;   /* within a call into curl: calls are then freed later */
    bool closed; /* only the kick that is on its way still needs it */
    list_t dead;
} upstream_curl_t;

/* What CURLOPT_PRIVATE of every easy handle points to. */
typedef struct upstream_job {
    list_t link; /* in `pending`: given to curl with the next turn; then in `calls` */
    CURL *easy;
    char *url;
    struct curl_slist *addresses;
    void (*over)(struct upstream_job *j, CURLcode code); /* it came to its end; curl is off the stack */
    void (*stop)(struct upstream_job *j);                /* the client ends */
} upstream_job_t;

/* Gives a job to curl, outside of the caller's stack. */
void upstream_curl_submit(upstream_curl_t *u, upstream_job_t *j);
/* Gives a job an easy handle that connects to that server by all our rules. */
CURL *upstream_curl_easy(upstream_curl_t *u, const upstream_target_t *to, upstream_job_t *j);
/* Ends it. */
void upstream_curl_easy_back(upstream_curl_t *u, upstream_job_t *j);
/* What the end of a connecting means. */
upstream_result_t upstream_curl_connected(CURLcode code);

#endif
