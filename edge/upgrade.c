/* BRINK_SOCKETS holds "FD WORKER ADDRESS" a line. The new process waits a little for disk and state, which the old one
 * gives up before it finishes what it is still serving; connections meanwhile wait in the sockets' queues. */
#include "edge/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum {
    UPGRADE_SOCKETS_MAX = 4096,
    UPGRADE_PATIENCE = 30 * 1000,   /* ms */
    UPGRADE_CHECK_MOST = 30 * 1000, /* ms that `-t` may take */
    UPGRADE_CHECK_STEP = 10,
    UPGRADE_NO_PROGRAM = 126
};

#define UPGRADE_VARIABLE "BRINK_SOCKETS"

extern char **environ;

static void upgrade_unblock(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Its exit status, or -1: killed, or it took too long. */
static int upgrade_wait(pid_t pid)
{
    int status = 0;
    for (int waited = 0; waited < UPGRADE_CHECK_MOST; waited += UPGRADE_CHECK_STEP) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended != 0)
            return ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        usleep(UPGRADE_CHECK_STEP * 1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

err_t upgrade_check(char **argv, char *err)
{
    size_t n = 0;
    while (argv[n] != NULL)
        n++;
    CHECK(n > 0);
    char **words = mem_alloc((n + 2) * sizeof(char *));
    words[0] = argv[0];
    words[1] = (char *)"-t";
    memcpy(words + 2, argv + 1, n * sizeof(char *));
    signal(SIGCHLD, SIG_DFL); /* ignored, it would take the exit status along */
    pid_t pid = fork();
    if (pid == 0) {
        upgrade_unblock();
        execvp(words[0], words);
        _exit(UPGRADE_NO_PROGRAM);
    }
    int failed = pid < 0 ? errno : 0, status = pid < 0 ? -1 : upgrade_wait(pid);
    signal(SIGCHLD, SIG_IGN);
    free(words);
    if (status == 0)
        return ERR_OK;
    if (pid < 0)
        snprintf(err, NODE_ERROR_MAX, "no process for a check: %s", strerror(failed));
    else if (status == UPGRADE_NO_PROGRAM)
        snprintf(err, NODE_ERROR_MAX, "%s can't be run", argv[0]);
    else
        snprintf(err, NODE_ERROR_MAX, "%s -t does not accept the configuration", argv[0]);
    return ERR_REFUSED;
}

err_t upgrade_spawn(node_t *n, char **argv, pid_t *child, char *err)
{
    char *list = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&list, &size);
    serve_inherited_t s;
    for (size_t i = 0; f != NULL && i < UPGRADE_SOCKETS_MAX && node_socket_at(n, i, &s); i++)
        fprintf(f, "%d %u %s\n", s.fd, s.worker, s.address);
    if (f == NULL || fclose(f) != 0) {
        snprintf(err, NODE_ERROR_MAX, "out of memory");
        return ERR_NO_MEMORY;
    }
    int report[2]; /* closed by a successful exec, else errno comes through it */
    if (pipe2(report, O_CLOEXEC) != 0) {
        free(list);
        snprintf(err, NODE_ERROR_MAX, "no pipe to the new process: %s", strerror(errno));
        return ERR_IO;
    }
    setenv(UPGRADE_VARIABLE, list, 1);
    free(list);
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < UPGRADE_SOCKETS_MAX && node_socket_at(n, i, &s); i++)
            fcntl(s.fd, F_SETFD, 0);
        upgrade_unblock();
        execvp(argv[0], argv);
        int e = errno;
        if (write(report[1], &e, sizeof e) < 0)
            _exit(126);
        _exit(127);
    }
    unsetenv(UPGRADE_VARIABLE);
    close(report[1]);
    int failed = pid < 0 ? errno : 0;
    if (pid > 0 && read(report[0], &failed, sizeof failed) < 0)
        failed = errno;
    close(report[0]);
    if (failed != 0) {
        snprintf(err, NODE_ERROR_MAX, "%s can't be started: %s", argv[0], strerror(failed));
        return ERR_IO;
    }
    *child = pid;
    return ERR_OK;
}

void upgrade_inherited(node_inherited_t *out)
{
    static serve_inherited_t sockets[UPGRADE_SOCKETS_MAX];
    *out = (node_inherited_t){.sockets = sockets};
    const char *variable = getenv(UPGRADE_VARIABLE);
    if (variable == NULL)
        return;
    char *list = mem_dup(variable, strlen(variable)), *save = NULL; /* addresses point into it: it stays */
    unsetenv(UPGRADE_VARIABLE);
    for (char *line = strtok_r(list, "\n", &save); line != NULL && out->n < UPGRADE_SOCKETS_MAX;
         line = strtok_r(NULL, "\n", &save)) {
        int fd, at = 0;
        unsigned worker;
        if (sscanf(line, "%d %u %n", &fd, &worker, &at) < 2 || at == 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
            continue;
        sockets[out->n++] = (serve_inherited_t){.address = line + at, .worker = worker, .fd = fd};
    }
    out->patience = out->n > 0 ? UPGRADE_PATIENCE : 0;
}
