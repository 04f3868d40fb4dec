/* Nobody who listens badly may hold up the node: the socket doesn't block, and what can't be sent is not sent. */
#include "edge/supervisor.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void supervisor_tell(const char *what)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path != NULL ? strlen(path) : 0;
    if (n < 2 || n >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@') /* of the abstract namespace (unix(7)) */
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    ssize_t sent = sendto(fd, what, strlen(what), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)sent;
    close(fd);
}

void supervisor_ready(void)
{
    supervisor_tell("READY=1");
}

void supervisor_stopping(void)
{
    supervisor_tell("STOPPING=1");
}

void supervisor_moved_to(pid_t pid)
{
    char text[32];
    snprintf(text, sizeof text, "MAINPID=%d", (int)pid);
    supervisor_tell(text);
}
