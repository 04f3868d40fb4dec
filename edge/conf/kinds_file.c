/* File names, relative to the configuration, and what is read from files at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/conf/kinds_priv.h"

static bool kind_path(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, span_t *out)
{
    if (!kind_scalar(r, s, node))
        return false;
    if (node->text.n == 0 || node->text.n > 1024)
        return reader_fail(r, ERR_RANGE, node, "`%s` must be a file name of 1 to 1024 bytes", s->key);
    /* A default is not written in the file, so it isn't relative to it. */
    bool as_is = node->text.p[0] == '/' || node->line == 0;
    *out = as_is ? arena_copy(r->arena, node->text)
                 : arena_printf(r->arena, "%.*s%.*s", SPAN_ARG(r->dir), SPAN_ARG(node->text));
    return out->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

bool kind_read_FILE(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    return kind_path(r, s, node, AT(span_t));
}

bool kind_read_SECRET(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    span_t path = SPAN_NONE;
    if (!kind_path(r, s, node, &path) || path.p == NULL)
        return false;
    char bytes[CONF_MAX_SECRET + 1];
    struct stat st;
    /* Opening a FIFO would hang the start, opening a device might do anything. */
    if (stat(path.p, &st) == 0 && !S_ISREG(st.st_mode))
        return reader_fail(r, ERR_IO, node, "`%s`: %s is no regular file", s->key, path.p);
    int fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd >= 0 && fstat(fd, &st) == 0 ? read(fd, bytes, sizeof bytes) : -1;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return reader_fail(r, ERR_IO, node, "`%s`: %s can't be read: %s. Make one with: openssl rand -hex 32 > FILE",
                           s->key, path.p, strerror(saved));
    size_t n = (size_t)got;
    while (n > 0 && strchr(" \t\r\n", bytes[n - 1]) != NULL && bytes[n - 1] != '\0')
        n--;
    if (got > CONF_MAX_SECRET || n < CONF_MIN_SECRET)
        return reader_fail(r, ERR_RANGE, node,
                           "`%s`: %s must hold %d to %d bytes. Make one with: openssl rand -hex 32 > FILE", s->key,
                           path.p, CONF_MIN_SECRET, CONF_MAX_SECRET);
    if (st.st_mode & S_IRWXO)
        reader_warn(r, node, "%s can be read by every user of this machine: chmod o= %s", path.p, path.p);
    *AT(span_t) = arena_copy(r->arena, span_of(bytes, n));
    explicit_bzero(bytes, sizeof bytes);
    return AT(span_t)->p != NULL || reader_fail(r, ERR_NO_MEMORY, node, "out of memory");
}

bool kind_read_LOG_ACCESS(conf_reader_t *r, const conf_setting_t *s, const tree_t *node, char *base)
{
    conf_log_t *log = (conf_log_t *)(void *)base;
    if (!kind_scalar(r, s, node))
        return false;
    if (span_eq(node->text, SPAN("off")))
        log->access = CONF_LOG_OFF;
    else if (span_eq(node->text, SPAN("stdout")))
        log->access = CONF_LOG_STDOUT;
    else if (span_eq(node->text, SPAN("syslog")))
        log->access = CONF_LOG_SYSLOG;
    else
        log->access = CONF_LOG_FILE;
    /* What was meant as a word must not become a file of that name. */
    static const struct {
        span_t text;
        const char *right;
    } mistaken[] = {
        {SPAN("stderr"), "stderr is the node's own log; stdout"}, {SPAN("off"), "write off in lower case"},
        {SPAN("stdout"), "write stdout in lower case"},           {SPAN("syslog"), "write syslog in lower case"},
        {SPAN("no"), "write off"},                                {SPAN("none"), "write off"},
        {SPAN("false"), "write off"},                             {SPAN("true"), "write stdout, syslog"},
        {SPAN("yes"), "write stdout, syslog"},                    {SPAN("on"), "write stdout, syslog"},
    };
    for (size_t i = 0; log->access == CONF_LOG_FILE && i < sizeof mistaken / sizeof *mistaken; i++)
        if (span_caseeq(node->text, mistaken[i].text))
            return reader_fail(r, ERR_REFUSED, node, "`%s`: %s, or ./%.*s for a file of that name", s->key,
                               mistaken[i].right, SPAN_ARG(node->text));
    return log->access != CONF_LOG_FILE || kind_path(r, s, node, &log->path);
}
