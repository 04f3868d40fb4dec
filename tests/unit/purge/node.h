/* A node's purge half for tests, in a directory of its own, and a Redis server for it. */
#ifndef BRINK_TESTS_PURGE_NODE_H
#define BRINK_TESTS_PURGE_NODE_H

#include <sys/types.h>

#include "purge/purge.h"

/* ---- a private Redis ---- */
typedef struct test_redis {
    pid_t pid;
    int port;
    char dir[64];
} test_redis_t;
void test_redis_start(test_redis_t *r); /* on the port it had, if it had one; with the data of its directory */
void test_redis_kill(test_redis_t *r, int sig);
void test_redis_drop(test_redis_t *r); /* kill and remove the directory */
/* One command, split at spaces ('…' keeps them); the reply as text (lines), good until the next call. */
const char *test_redis(test_redis_t *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- nodes ---- */
typedef struct test_node {
    purge_t *p;
    char dir[64];
    purge_options_t o;
} test_node_t;
void test_node_init(test_node_t *n, const char *name, test_redis_t *r); /* r NULL: without Redis; sets options only */
void test_node_start(test_node_t *n, bool stored_objects);
void test_node_stop(test_node_t *n);
void test_node_drop(test_node_t *n); /* stops if it runs, and removes the directory */

mark_t test_node_check(test_node_t *n, const char *uri, const char *tag, uint64_t began);
/* Waits up to 20 s until cond holds. */
#define TEST_WAIT(cond)                                                                                                \
    do {                                                                                                               \
        int left_ = 10000;                                                                                             \
        while (!(cond) && left_-- > 0)                                                                                 \
            usleep(2000);                                                                                              \
        cr_assert(left_ >= 0, "waited 20 s for " #cond);                                                               \
    } while (0)

typedef struct test_answer {
    _Atomic bool come;
    purge_outcome_t o;
    purge_node_state_t nodes[8];
    char names[8][64];
} test_answer_t;
/* Submits a JSON body and waits for its answer. */
test_answer_t *test_node_purge(test_node_t *n, const char *json);
test_answer_t *test_node_receipt(test_node_t *n, const char *id);
/* Submits it, and waits until Redis and all nodes have it: longer than an answer waits for a Redis that is slow. */
test_answer_t *test_node_everywhere(test_node_t *n, const char *json);
purge_status_t test_node_status(test_node_t *n);

#endif
