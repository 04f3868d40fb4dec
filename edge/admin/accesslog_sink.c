/* A pipe or a terminal may stop reading, and O_NONBLOCK on standard output would change it for every process that
 * shares it. So poll(2) says when PIPE_BUF bytes fit, and no more is written at once: the writer thread can always be
 * told to stop. */
#include "edge/admin/accesslog_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/tbl/metrics.h"

enum { SYSLOG_PRIORITY = 16 * 8 + 6 /* local0.info */, COMPLAIN_EVERY = 60 * 1000 };

static int accesslog_sink_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

static int accesslog_sink_syslog(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, n + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static void accesslog_sink_take(accesslog_sink_t *s, int fd)
{
    struct stat st;
    s->fd = fd;
    s->type = fd >= 0 && fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

static void accesslog_sink_complain(accesslog_sink_t *s, const char *what, int e)
{
    msec_t now = clock_now().boot;
    metrics_add(METRIC_LOG_ERRORS, 0, 1);
    if (s->complained != 0 && now - s->complained < COMPLAIN_EVERY)
        return;
    s->complained = now;
    log_warn("access log %s: %s: %s; lines are lost (and counted in brink_log_dropped_total) until it works again",
             s->path != NULL ? s->path : "on standard output", what, strerror(e));
}

err_t accesslog_sink_open(accesslog_sink_t *s, accesslog_to_t to, const char *path, char *err, size_t err_size)
{
    *s = (accesslog_sink_t){.to = to, .path = path, .fd = -1};
    if (to == ACCESSLOG_STDOUT) {
        s->path = NULL;
        accesslog_sink_take(s, STDOUT_FILENO);
        return ERR_OK;
    }
    if (to == ACCESSLOG_SYSLOG) {
        if (path == NULL)
            s->path = "/dev/log";
        accesslog_sink_take(s, accesslog_sink_syslog(s->path)); /* a log daemon may start later than we */
        if (s->fd < 0)
            log_warn("access log: no syslog at %s yet: %s", s->path, strerror(errno));
        return ERR_OK;
    }
    accesslog_sink_take(s, accesslog_sink_file(path));
    if (s->fd < 0) {
        snprintf(err, err_size, "access log %s can't be opened: %s", path, strerror(errno));
        return ERR_IO;
    }
    return ERR_OK;
}

void accesslog_sink_reopen(accesslog_sink_t *s)
{
    if (s->to != ACCESSLOG_FILE)
        return;
    int fd = accesslog_sink_file(s->path);
    if (fd < 0) {
        log_error("access log %s can't be reopened: %s; going on in the old file", s->path, strerror(errno));
        return;
    }
    if (s->fd >= 0)
        close(s->fd);
    accesslog_sink_take(s, fd);
    s->torn = false;
}

static bool accesslog_sink_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, ACCESSLOG_SINK_WAIT_MS) == 1;
}

/* One datagram a line. */
static ssize_t accesslog_sink_datagrams(accesslog_sink_t *s, const char *lines, size_t n)
{
    char message[ACCESSLOG_SYSLOG_MAX];
    size_t done = 0;
    while (done < n) {
        const char *end = memchr(lines + done, '\n', n - done);
        size_t length = end != NULL ? (size_t)(end - lines) - done : n - done;
        if (s->fd < 0)
            accesslog_sink_take(s, accesslog_sink_syslog(s->path));
        if (s->fd < 0) {
            accesslog_sink_complain(s, "connect", errno);
            return -1;
        }
        int m = snprintf(message, sizeof message, "<%d>brink[%d]: %.*s", SYSLOG_PRIORITY, (int)getpid(), (int)length,
                         lines + done);
        if ((size_t)m >= sizeof message)
            m = sizeof message - 1;
        if (send(s->fd, message, (size_t)m, MSG_NOSIGNAL) < 0) {
            if (errno == EAGAIN && accesslog_sink_ready(s->fd))
                continue;
            if (errno == EAGAIN || errno == EINTR)
                return (ssize_t)done;
            accesslog_sink_complain(s, "send", errno);
            close(s->fd);
            accesslog_sink_take(s, -1);
            return -1;
        }
        done += length + 1;
    }
    return (ssize_t)n;
}

ssize_t accesslog_sink_write(accesslog_sink_t *s, const char *lines, size_t n)
{
    if (s->to == ACCESSLOG_SYSLOG)
        return accesslog_sink_datagrams(s, lines, n);
    size_t done = 0;
    while (done < n) {
        const char *from = lines + done;
        size_t piece = n - done;
        if (s->torn)
            from = "\n", piece = 1;
        else if (s->type != S_IFREG) {
            if (!accesslog_sink_ready(s->fd))
                return (ssize_t)done;
            if (piece > PIPE_BUF)
                piece = PIPE_BUF;
        }
        ssize_t w =
            s->type == S_IFSOCK ? send(s->fd, from, piece, MSG_NOSIGNAL | MSG_DONTWAIT) : write(s->fd, from, piece);
        if (w < 0 && (errno == EINTR || errno == EAGAIN))
            return (ssize_t)done;
        if (w <= 0) {
            accesslog_sink_complain(s, "write", errno);
            s->torn = done > 0 && lines[done - 1] != '\n';
            return -1;
        }
        if (s->torn)
            s->torn = false;
        else
            done += (size_t)w;
    }
    return (ssize_t)n;
}

void accesslog_sink_close(accesslog_sink_t *s)
{
    if (s->to != ACCESSLOG_STDOUT && s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
