/* Listening sockets. With SO_REUSEPORT each worker has its own queue and the kernel spreads connections over them; but
 * a second process of the same user would bind as silently, so a plain bind comes first as a probe. Unix sockets know
 * no SO_REUSEPORT: one socket, a duplicated descriptor a worker. A socket file that nobody listens on is left over from
 * a crash and removed. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <fcntl.h>

#include "edge/base/mem.h"
#include "edge/serve/serve_priv.h"

enum { LISTENER_BACKLOG = 4096 };

static err_t listener_parse_unix(const char *path, listener_address_t *out, char *err, size_t err_size)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof un->sun_path) {
        snprintf(err, err_size, "path of unix socket must have 1 to %zu bytes", sizeof un->sun_path - 1);
        return ERR_SYNTAX;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return ERR_OK;
}

err_t listener_parse(const char *text, listener_address_t *out, char *err, size_t err_size)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0)
        return listener_parse_unix(text + 5, out, err, err_size);
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t host_len = colon != NULL ? (size_t)(colon - text) : 0;
    char *end = NULL;
    unsigned long port = colon != NULL && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 65536;
    if (colon == NULL || host_len >= sizeof host || port > 65535 || *end != '\0') {
        snprintf(err, err_size, "address %s is not of the form 127.0.0.1:8080, [::1]:8080, *:8080 or unix:/path", text);
        return ERR_SYNTAX;
    }
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    struct sockaddr_in *in = (struct sockaddr_in *)&out->sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->sa;
    if (host_len > 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1) {
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons((uint16_t)port);
            out->len = sizeof *in6;
            return ERR_OK;
        }
    } else if (host_len == 0 || strcmp(host, "*") == 0) {
        in6->sin6_family = AF_INET6; /* with IPV6_V6ONLY off: IPv4 too */
        in6->sin6_addr = in6addr_any;
        in6->sin6_port = htons((uint16_t)port);
        out->len = sizeof *in6;
        return ERR_OK;
    } else if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        out->len = sizeof *in;
        return ERR_OK;
    }
    snprintf(err, err_size, "address %s: host must be a numeric address ([…] around IPv6) or *", text);
    return ERR_SYNTAX;
}

static int listener_port(const listener_address_t *a)
{
    return a->sa.ss_family == AF_UNIX   ? 0
           : a->sa.ss_family == AF_INET ? ntohs(((const struct sockaddr_in *)&a->sa)->sin_port)
                                        : ntohs(((const struct sockaddr_in6 *)&a->sa)->sin6_port);
}

static int listener_socket(const listener_address_t *a, bool reuse_port)
{
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, off = 0;
    if (fd < 0)
        return -1;
    if (a->sa.ss_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (reuse_port)
            setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    }
    if (a->sa.ss_family == AF_INET6) {
        bool any = IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any && !a->v6_only ? &off : &on, sizeof on);
    }
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* Is a port that all of IPv6 is listened on given to an address of IPv4 by itself? Then that is not taken here, too. */
static bool listener_shares_port(const listener_address_t *a, const serve_options_t *o)
{
    char err[SERVE_ERROR_MAX];
    listener_address_t other;
    if (a->sa.ss_family != AF_INET6 || listener_port(a) == 0)
        return false;
    for (size_t i = 0; i < o->listen_count; i++)
        if (listener_parse(o->listens[i].address, &other, err, sizeof err) == ERR_OK &&
            other.sa.ss_family == AF_INET && listener_port(&other) == listener_port(a))
            return true;
    return false;
}

static err_t listener_failed(const serve_listener_t *l, char *err, size_t err_size)
{
    if (errno == EADDRINUSE) {
        snprintf(err, err_size, "address %s is taken: another program (or another brinkd) listens there", l->address);
        return ERR_EXISTS;
    }
    snprintf(err, err_size, "can't listen on %s: %s%s", l->address, strerror(errno),
             errno == EACCES && !l->is_unix ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "");
    return ERR_IO;
}

/* Removes a socket file that nobody listens on; leaves everything else. */
static void listener_remove_stale(const listener_address_t *a)
{
    const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len) != 0 && errno == ECONNREFUSED)
        unlink(path);
    close(fd);
}

static err_t listener_bind_unix(serve_listener_t *l, const listener_address_t *a, unsigned workers, char *err,
                                size_t err_size)
{
    listener_remove_stale(a);
    int fd = listener_socket(a, false);
    if (fd < 0)
        return listener_failed(l, err, err_size);
    l->fds[0] = fd;
    if (listen(fd, LISTENER_BACKLOG) != 0)
        return listener_failed(l, err, err_size);
    for (unsigned i = 1; i < workers; i++)
        if ((l->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
            return listener_failed(l, err, err_size);
    return ERR_OK;
}

static void listener_learn_port(serve_listener_t *l, listener_address_t *a, int fd)
{
    a->len = sizeof a->sa;
    if (getsockname(fd, (struct sockaddr *)&a->sa, &a->len) == 0 && a->sa.ss_family != AF_UNIX)
        l->port = listener_port(a);
}

/* Descriptors that another process handed on; what it had more workers for is closed by the caller. */
static bool listener_inherit(serve_listener_t *l, unsigned workers, const serve_options_t *o)
{
    bool any = false;
    for (size_t i = 0; i < o->inherited_count; i++) {
        const serve_inherited_t *h = &o->inherited[i];
        if (strcmp(h->address, l->address) == 0 && h->worker < workers && l->fds[h->worker] < 0) {
            l->fds[h->worker] = h->fd;
            any = true;
        }
    }
    return any;
}

err_t listener_bind(serve_listener_t *l, unsigned workers, const serve_options_t *o, char *err, size_t err_size)
{
    listener_address_t a;
    err_t e = listener_parse(l->address, &a, err, err_size);
    if (e != ERR_OK)
        return e;
    l->is_unix = a.sa.ss_family == AF_UNIX;
    a.v6_only = listener_shares_port(&a, o);
    bool inherited = listener_inherit(l, workers, o);
    if (inherited && l->fds[0] >= 0)
        listener_learn_port(l, &a, l->fds[0]);
    if (l->is_unix && !inherited)
        return listener_bind_unix(l, &a, workers, err, err_size);
    if (!inherited) {
        int probe = listener_socket(&a, false);
        if (probe < 0)
            return listener_failed(l, err, err_size);
        close(probe);
    }
    for (unsigned i = 0; i < workers; i++) {
        if (l->fds[i] >= 0)
            continue;
        l->fds[i] = l->is_unix ? fcntl(l->fds[0], F_DUPFD_CLOEXEC, 0) : listener_socket(&a, true);
        if (l->fds[i] < 0)
            return listener_failed(l, err, err_size);
        if (i == 0)
            listener_learn_port(l, &a, l->fds[0]); /* port 0: the others take the one that the first got */
        if (!l->is_unix && listen(l->fds[i], LISTENER_BACKLOG) != 0)
            return listener_failed(l, err, err_size);
    }
    return ERR_OK;
}

void listener_close(serve_listener_t *l, unsigned workers, bool unlink_socket)
{
    for (unsigned i = 0; i < workers; i++)
        if (l->fds[i] >= 0) {
            close(l->fds[i]);
            l->fds[i] = -1;
        }
    if (unlink_socket && l->is_unix)
        unlink(l->address + 5);
}
