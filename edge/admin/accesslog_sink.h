/* Where lines go: a file, standard output, the system's log. Only the writer thread of accesslog.c calls these. */
#ifndef BRINK_ADMIN_ACCESSLOG_SINK_H
#define BRINK_ADMIN_ACCESSLOG_SINK_H

#include <sys/types.h>

#include "edge/admin/accesslog.h"

typedef struct accesslog_sink {
    accesslog_to_t to;
    const char *path;  /* borrowed */
    int fd;            /* -1: not open (syslog that isn't there yet) */
    mode_t type;       /* S_IFMT of fd */
    bool torn;         /* a line was cut by an error: begin the next write with a newline */
    msec_t complained; /* boot time of the last word about errors */
} accesslog_sink_t;

enum {
    ACCESSLOG_SINK_WAIT_MS = 250, /* how long a reader that has stopped is waited for at a time */
    ACCESSLOG_SYSLOG_MAX = 8192   /* bytes of a message to syslog; more is cut */
};

err_t accesslog_sink_open(accesslog_sink_t *s, accesslog_to_t to, const char *path, char *err, size_t err_size);
void accesslog_sink_reopen(accesslog_sink_t *s);
/* Whole lines. Returns the bytes taken; fewer: the reader has stopped (ask again), -1: the rest is lost (said so in the
 * node's log). Waits at most ACCESSLOG_SINK_WAIT_MS for the reader. */
ssize_t accesslog_sink_write(accesslog_sink_t *s, const char *lines, size_t n);
void accesslog_sink_close(accesslog_sink_t *s);

#endif
