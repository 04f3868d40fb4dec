/* BRINK_SOCKETS holds "FD WORKER ADDRESS" a line. The new process waits a little for disk and state, which the old one
 * gives up before it finishes what it is still serving; connections meanwhile wait in the sockets' queues. */
#include "edge/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/mem.h"

enum { UPGRADE_SOCKETS_MAX = 4096, UPGRADE_PATIENCE = 30 * 1000 };

#define UPGRADE_VARIABLE "BRINK_SOCKETS"

extern char **environ;

err_t upgrade_spawn(node_t *n, char **argv, char *err)
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
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
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
