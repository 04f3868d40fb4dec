/* The words of the configuration: counts, sizes, durations. Pure. */
#ifndef BRINK_CONF_UNITS_H
#define BRINK_CONF_UNITS_H

#include <stdio.h>

#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/base/time.h"

/* ERR_SYNTAX: not of the form; ERR_RANGE: of the form, but too large for the type. */
err_t units_count(span_t s, int64_t *out);   /* digits */
err_t units_size(span_t s, int64_t *out);    /* digits, then nothing (bytes), KiB, MiB, GiB or TiB */
err_t units_duration(span_t s, msec_t *out); /* digits, then ms, s, m, h or d */
/* The shortest way to write it in the grammar above. Returns buf. */
const char *units_write_size(int64_t v, char buf[32]);
const char *units_write_duration(msec_t v, char buf[32]);

#endif
