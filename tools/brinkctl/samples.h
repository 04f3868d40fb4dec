/* What a node's /metrics says at a moment (Prometheus text), and what happened between two of them. */
#ifndef BRINK_TOOLS_BRINKCTL_SAMPLES_H
#define BRINK_TOOLS_BRINKCTL_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sample {
    const char *name, *labels; /* labels: what stands in the braces, "" for none */
    double value;
} sample_t;

/* Zeroed is empty. */
typedef struct samples {
    char *text; /* what names and labels point into */
    sample_t *v;
    size_t n;
} samples_t;

/* Takes over `text` (malloc'ed, NUL at its end) and cuts it up. Lines that are none are passed over. */
void samples_read(samples_t *s, char *text);
void samples_release(samples_t *s);
/* The value of a label in `labels`, into `out`; false: it has none. Escapes are undone. */
bool samples_label(const char *labels, const char *name, char *out, size_t room);
/* The sum of all samples of that name whose label has that value (label NULL: all). */
double samples_sum(const samples_t *s, const char *name, const char *label, const char *value);
/* By how much that has grown; a node that was started meanwhile began at 0. */
double samples_grown(const samples_t *before, const samples_t *after, const char *name, const char *label,
                     const char *value);
/* The value that a part `q` of what a histogram counted between the two is below; -1: it counted nothing. Between the
 * bounds of a bucket all is taken to lie evenly. */
double samples_quantile(const samples_t *before, const samples_t *after, const char *name, double q);

#endif
