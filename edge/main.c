/* brinkd: the command line, and signals.
 *
 * All signals are blocked in all threads and taken one by one here, where anything may be called. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/node.h"
#include "edge/privilege.h"
#include "edge/sandbox.h"
#include "edge/supervisor.h"
#include "edge/upgrade.h"

enum { MAIN_OK = 0, MAIN_FAILED = 1, MAIN_BAD_CONFIGURATION = 2 };

static void main_usage(FILE *to)
{
    fprintf(to, "usage: brinkd -c FILE       run the node in the foreground\n"
                "       brinkd -c FILE -t    check the configuration: 0, or 2 with the place and what would be right\n"
                "       brinkd --help-config the reference of all settings\n"
                "       brinkd --version\n"
                "signals: TERM, INT stop; HUP reload configuration and certificates, reopen the log; USR2 hand over to "
                "a new binary\n");
}

static conf_t *main_load(const char *file)
{
    conf_t *conf;
    conf_error_t error;
    char text[2048];
    if (conf_load(file, &conf, &error) != ERR_OK) {
        fprintf(stderr, "%s\n", conf_error_text(&error, text, sizeof text));
        return NULL;
    }
    return conf;
}

static void main_warnings(const conf_t *conf)
{
    for (size_t i = 0; i < conf->warnings_n; i++)
        fprintf(stderr, "%.*s:%d:%d: warning: %.*s\n", SPAN_ARG(conf->file), conf->warnings[i].line,
                conf->warnings[i].column, SPAN_ARG(conf->warnings[i].message));
}

static void main_reload(node_t *node, const char *file)
{
    conf_error_t error;
    char text[2048];
    conf_t *conf;
    char err[NODE_ERROR_MAX];
    bool ok = conf_load(file, &conf, &error) == ERR_OK;
    if (!ok) {
        log_error("reload refused, the old configuration goes on: %s", conf_error_text(&error, text, sizeof text));
    } else {
        ok = node_reload(node, conf, err) == ERR_OK;
        if (!ok)
            log_error("reload refused, the old configuration goes on: %s", err);
        conf_unref(conf);
    }
    node_reloaded(ok);
    if (ok)
        log_info("configuration and certificates reloaded from %s", file);
}

/* Until a signal says to stop. Returns the program's exit code. */
static int main_run(node_t *node, const char *file, char **argv, const sigset_t *signals)
{
    char err[NODE_ERROR_MAX];
    pid_t successor = 0;
    for (;;) {
        const struct timespec second = {.tv_sec = 1};
        switch (sigtimedwait(signals, NULL, &second)) {
        case SIGTERM:
        case SIGINT:
            log_info("stopping: requests in flight are finished, what is fresh is written to disk");
            supervisor_stopping();
            node_stop(node, false);
            return MAIN_OK;
        case SIGHUP:
            main_reload(node, file);
            break;
        case SIGUSR2:
            if (upgrade_check(argv, err) != ERR_OK || upgrade_spawn(node, argv, &successor, err) != ERR_OK) {
                log_error("not handed over, this process goes on: %s", err);
                break;
            }
            supervisor_moved_to(successor);
            log_info("sockets handed over to a new process, draining");
            node_stop(node, true);
            return MAIN_OK;
        default:
            if (node_tick(node, err)) {
                log_error("%s", err);
                node_stop(node, false);
                return MAIN_FAILED;
            }
        }
    }
}

typedef struct main_opening {
    const conf_t *conf;
    const node_inherited_t *inherited;
    node_t *node;
    err_t result;
    char err[NODE_ERROR_MAX];
} main_opening_t;

static void main_sandbox(const conf_t *conf, sandbox_level_t level)
{
    char err[128];
    if (conf->sandbox && sandbox_enter(level, err, sizeof err) != ERR_OK)
        log_warn("the kernel can't refuse system calls for us (%s); it goes on without, `sandbox: false` silences this",
                 err);
}

/* A thread of its own opens and starts the node: what it may not do (start programs) none of the threads that it starts
 * may. */
static void *main_open(void *arg)
{
    main_opening_t *o = arg;
    main_sandbox(o->conf, SANDBOX_THREADS);
    o->result = node_open(o->conf, o->inherited, &o->node, o->err);
    if (o->result != ERR_OK)
        return NULL;
    o->result = node_start(o->node, o->err);
    if (o->result != ERR_OK)
        node_stop(o->node, false);
    return NULL;
}

static err_t main_open_node(main_opening_t *o)
{
    pthread_t thread;
    main_sandbox(o->conf, SANDBOX_PROCESS);
    if (pthread_create(&thread, NULL, main_open, o) != 0) {
        snprintf(o->err, sizeof o->err, "no thread can be started");
        return ERR_NO_MEMORY;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return o->result;
}

static int main_serve(const char *file, char **argv)
{
    sigset_t signals;
    sigemptyset(&signals);
    const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaddset(&signals, taken[i]);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file may not grow (ulimit -f): the write fails, and that is handled as a full disk */
    signal(SIGCHLD, SIG_IGN);

    conf_t *conf = main_load(file);
    if (conf == NULL)
        return MAIN_BAD_CONFIGURATION;
    main_warnings(conf);
    bool dumps = conf->core_dumps;
    if (!dumps)
        privilege_dumps(false);
    size_t descriptors = privilege_descriptors();
    if (descriptors < conf->limits.connections)
        log_warn("only %zu file descriptors may be open, but limits.connections is %u: raise the limit (ulimit -Hn, or "
                 "LimitNOFILE in the systemd unit)",
                 descriptors, conf->limits.connections);
    node_inherited_t inherited;
    upgrade_inherited(&inherited);
    if (upstream_curl_global_init() != ERR_OK) {
        log_error("libcurl can't be initialised");
        return MAIN_FAILED;
    }
    main_opening_t opening = {.conf = conf, .inherited = &inherited};
    err_t e = main_open_node(&opening);
    node_t *node = opening.node;
    conf_unref(conf);
    if (e != ERR_OK) {
        log_error("not started: %s", opening.err);
        node_free(node);
        return MAIN_FAILED;
    }
    log_info("brink " BRINK_VERSION " runs with %s", file);
    supervisor_ready();
    int code = main_run(node, file, argv, &signals);
    node_free(node);
    if (!dumps) /* what it protected is gone */
        privilege_dumps(true);
    return code;
}

int main(int argc, char **argv)
{
    enum { VERSION = 256, HELP_CONFIG };
    static const struct option options[] = {{"version", no_argument, NULL, VERSION},
                                            {"help", no_argument, NULL, 'h'},
                                            {"help-config", no_argument, NULL, HELP_CONFIG},
                                            {0}};
    const char *file = NULL;
    bool test = false;
    for (int o; (o = getopt_long(argc, argv, "c:th", options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            file = optarg;
            break;
        case 't':
            test = true;
            break;
        case 'h':
            main_usage(stdout);
            return MAIN_OK;
        case VERSION:
            printf("brinkd " BRINK_VERSION "\n");
            return MAIN_OK;
        case HELP_CONFIG:
            conf_describe(stdout);
            return MAIN_OK;
        default:
            main_usage(stderr);
            return MAIN_BAD_CONFIGURATION;
        }
    }
    if (file == NULL || optind < argc) {
        main_usage(stderr);
        return MAIN_BAD_CONFIGURATION;
    }
    if (!test)
        return main_serve(file, argv);
    conf_t *conf = main_load(file);
    if (conf == NULL)
        return MAIN_BAD_CONFIGURATION;
    main_warnings(conf);
    char err[NODE_ERROR_MAX] = "";
    err_t e = node_check(conf, err);
    conf_unref(conf);
    if (e != ERR_OK) {
        fprintf(stderr, "%s: %s\n", file, err);
        return MAIN_BAD_CONFIGURATION;
    }
    printf("%s: the configuration is right\n", file);
    return MAIN_OK;
}
