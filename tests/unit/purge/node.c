#include "node.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/policy/key.h"
#include "edge/policy/tags.h"

/* Criterion's runner leaves 48 bytes of its own behind now and then when it runs several jobs. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libcriterion\n";
}

static void test_remove(const char *dir)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    cr_assert_eq(system(cmd), 0);
}

/* Below the ephemeral range, so that no outgoing connection sits on it while the server is away; a lock file is held on
 * it, as the live tests do it (tests/live/processes.py). */
static int test_free_port(void)
{
    char path[64];
    int n = snprintf(path, sizeof path, "/tmp/brink-ports-%u", (unsigned)getuid());
    mkdir(path, 0777);
    for (int i = 0; i < 2000; i++) {
        uint16_t chance;
        cr_assert_eq(getrandom(&chance, sizeof chance, 0), (ssize_t)sizeof chance);
        int port = 12000 + chance % 20000;
        snprintf(path + n, sizeof path - (size_t)n, "/%d", port);
        int lock = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666), fd = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in to = {
            .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        bool ours =
            lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0 && bind(fd, (struct sockaddr *)&to, sizeof to) == 0;
        close(fd);
        if (ours)
            return port;
        if (lock >= 0)
            close(lock);
    }
    cr_assert(false, "no free port");
    return 0;
}

void test_redis_start(test_redis_t *r)
{
    char port[16];
    if (r->port == 0) {
        snprintf(r->dir, sizeof r->dir, "/tmp/brink-redis-XXXXXX");
        cr_assert_not_null(mkdtemp(r->dir));
        r->port = test_free_port();
    }
    snprintf(port, sizeof port, "%d", r->port);
    r->pid = fork();
    if (r->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", r->dir, "--appendonly",
               "yes", "--appendfsync", "always", "--save", "", "--logfile", "redis.log", "--daemonize", "no",
               (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000; i++) {
        redisContext *c = redisConnect("127.0.0.1", r->port);
        redisReply *reply = c != NULL && c->err == 0 ? redisCommand(c, "PING") : NULL;
        bool up = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        if (reply != NULL)
            freeReplyObject(reply);
        redisFree(c);
        if (up)
            return;
        usleep(5000);
    }
    cr_assert(false, "redis-server doesn't start");
}

void test_redis_kill(test_redis_t *r, int sig)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, sig);
    if (sig == SIGSTOP) { /* on a busy machine it goes on for a moment */
        siginfo_t info;
        waitid(P_PID, (id_t)r->pid, &info, WSTOPPED | WEXITED | WNOWAIT);
    }
    if (sig == SIGKILL || sig == SIGTERM) {
        waitpid(r->pid, NULL, 0);
        r->pid = 0;
    }
}

void test_redis_drop(test_redis_t *r)
{
    test_redis_kill(r, SIGKILL);
    test_remove(r->dir);
}

static size_t test_print(char *to, size_t size, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_INTEGER:
        return (size_t)snprintf(to, size, "%lld\n", r->integer);
    case REDIS_REPLY_NIL:
        return (size_t)snprintf(to, size, "nil\n");
    case REDIS_REPLY_ARRAY: {
        size_t n = 0;
        for (size_t i = 0; i < r->elements && n + 1 < size; i++)
            n += test_print(to + n, size - n, r->element[i]);
        return n;
    }
    default:
        return (size_t)snprintf(to, size, "%s\n", r->str);
    }
}

const char *test_redis(test_redis_t *r, const char *fmt, ...)
{
    static char out[65536];
    char command[4096], *argv[32];
    int argc = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    for (char *at = command; *at != '\0' && argc < 32;) {
        bool quoted = *at == '\'';
        argv[argc++] = at += quoted;
        at += strcspn(at, quoted ? "'" : " ");
        if (*at != '\0')
            *at++ = '\0';
        at += strspn(at, " ");
    }
    redisContext *c = redisConnect("127.0.0.1", r->port);
    cr_assert(c != NULL && c->err == 0);
    redisReply *reply = redisCommandArgv(c, argc, (const char **)argv, NULL);
    cr_assert_not_null(reply);
    out[0] = '\0';
    test_print(out, sizeof out, reply);
    freeReplyObject(reply);
    redisFree(c);
    return out;
}

/* ---- nodes ---- */

static err_t test_normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *digest)
{
    (void)ctx;
    return key_from_url(a, url, &(key_rules_t){.query = KEY_QUERY_ALL}, uri, digest);
}

void test_node_init(test_node_t *n, const char *name, test_redis_t *r)
{
    *n = (test_node_t){.p = NULL};
    snprintf(n->dir, sizeof n->dir, "/tmp/brink-state-XXXXXX");
    cr_assert_not_null(mkdtemp(n->dir));
    n->o = (purge_options_t){.node = name,
                             .version = "test",
                             .state = n->dir,
                             .stream = "brink:purge",
                             .keep = 7 * 24 * 3600 * 1000,
                             .wait_timeout = 3000,
                             .start_without_redis = 30000,
                             .max_disconnected = MSEC_NEVER,
                             .normalise = test_normalise};
    if (r != NULL) {
        n->o.redis.kind = PURGE_SERVER_TCP;
        n->o.redis.shown = "redis://test";
        n->o.redis.hosts[0].host = "127.0.0.1";
        n->o.redis.hosts[0].port = (uint16_t)r->port;
        n->o.redis.hosts_n = 1;
    }
}

void test_node_start(test_node_t *n, bool stored_objects)
{
    char err[256];
    cr_assert_eq(purge_open(&n->o, &n->p, err, sizeof err), ERR_OK, "%s", err);
    cr_assert_eq(purge_start(n->p, stored_objects), ERR_OK);
}

void test_node_stop(test_node_t *n)
{
    if (n->p == NULL)
        return;
    purge_stop(n->p);
    purge_free(n->p);
    n->p = NULL;
}

void test_node_drop(test_node_t *n)
{
    test_node_stop(n);
    test_remove(n->dir);
}

mark_t test_node_check(test_node_t *n, const char *uri, const char *tag, uint64_t began)
{
    digest_t d = tags_digest(span_str(tag));
    span_t u = span_str(uri);
    ledger_subject_t s = {.uri = u, .uri_digest = key_uri_digest(u), .tags = &d, .tags_n = tag != NULL};
    return ledger_check(purge_ledger(n->p), &s, began, NULL);
}

static void test_answered(void *ctx, const purge_outcome_t *o)
{
    test_answer_t *a = ctx;
    a->o = *o;
    a->o.nodes = a->nodes;
    for (size_t i = 0; i < o->nodes_n && i < 8; i++) {
        a->nodes[i] = o->nodes[i];
        snprintf(a->names[i], sizeof a->names[i], "%s", o->nodes[i].name);
        a->nodes[i].name = a->names[i];
    }
    atomic_store(&a->come, true);
}

test_answer_t *test_node_purge(test_node_t *n, const char *json)
{
    arena_t arena;
    message_t m;
    message_error_t e;
    char bad[64];
    test_answer_t *a = calloc(1, sizeof *a);
    arena_init(&arena, 0);
    cr_assert_eq(message_parse(span_str(json), MESSAGE_FROM_CLIENT, &arena, &m, &e), ERR_OK, "%s", e.text);
    cr_assert_eq(purge_submit(n->p, &m, test_answered, a, bad, sizeof bad), ERR_OK);
    arena_release(&arena);
    TEST_WAIT(atomic_load(&a->come));
    return a;
}

test_answer_t *test_node_receipt(test_node_t *n, const char *id)
{
    test_answer_t *a = calloc(1, sizeof *a);
    purge_receipt(n->p, span_str(id), test_answered, a);
    TEST_WAIT(atomic_load(&a->come));
    return a;
}

static bool test_node_all_have(const test_answer_t *a)
{
    for (size_t i = 0; i < a->o.nodes_n; i++)
        if (a->nodes[i].live && a->nodes[i].applied_ms < 0)
            return false;
    return a->o.in_redis;
}

test_answer_t *test_node_everywhere(test_node_t *n, const char *json)
{
    char fleet[512];
    int some = (int)strlen(json) - 1;
    snprintf(fleet, sizeof fleet, "%.*s,\"wait\":\"fleet\"}", some, json);
    test_answer_t *a = test_node_purge(n, fleet);
    if (a->o.err == ERR_OK && a->o.in_redis)
        return a;
    char id[sizeof a->o.id];
    snprintf(id, sizeof id, "%s", a->o.id);
    TEST_WAIT((free(a), a = test_node_receipt(n, id), test_node_all_have(a)));
    return a;
}

purge_status_t test_node_status(test_node_t *n)
{
    purge_status_t s;
    purge_status(n->p, &s);
    return s;
}
