/* A line is NAME{LABELS} VALUE or NAME VALUE. Names of labels are found where a value can't be: at the beginning, or
 * behind a comma that stands outside of quotes. */
#include "tools/brinkctl/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"

void samples_read(samples_t *s, char *text)
{
    *s = (samples_t){.text = text};
    size_t room = 0;
    for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        char *space = strrchr(line, ' '), *brace = strchr(line, '{');
        if (line[0] == '#' || space == NULL)
            continue;
        *space = '\0';
        char *end = brace != NULL ? strrchr(brace, '}') : NULL;
        if (end != NULL)
            *brace = *end = '\0';
        if (s->n == room) {
            room = room == 0 ? 256 : 2 * room;
            s->v = mem_realloc(s->v, room * sizeof *s->v);
        }
        s->v[s->n++] = (sample_t){line, end != NULL ? brace + 1 : "", strtod(space + 1, NULL)};
    }
}

void samples_release(samples_t *s)
{
    free(s->v);
    free(s->text);
    *s = (samples_t){0};
}

bool samples_label(const char *labels, const char *name, char *out, size_t room)
{
    size_t n = strlen(name);
    while (*labels != '\0') {
        bool wanted = strncmp(labels, name, n) == 0 && labels[n] == '=';
        const char *quote = strchr(labels, '"');
        if (quote == NULL)
            return false;
        size_t k = 0;
        for (labels = quote + 1; *labels != '\0' && *labels != '"'; labels++) {
            if (*labels == '\\' && labels[1] != '\0')
                labels++;
            if (wanted && k + 1 < room)
                out[k++] = *labels;
        }
        if (wanted) {
            out[k] = '\0';
            return true;
        }
        labels += *labels == '"';
        labels += *labels == ',';
    }
    return false;
}

double samples_sum(const samples_t *s, const char *name, const char *label, const char *value)
{
    double sum = 0;
    char have[512];
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].name, name) == 0 &&
            (label == NULL || (samples_label(s->v[i].labels, label, have, sizeof have) && strcmp(have, value) == 0)))
            sum += s->v[i].value;
    return sum;
}

double samples_grown(const samples_t *before, const samples_t *after, const char *name, const char *label,
                     const char *value)
{
    double was = samples_sum(before, name, label, value), is = samples_sum(after, name, label, value);
    return is >= was ? is - was : is;
}

double samples_quantile(const samples_t *before, const samples_t *after, const char *name, double q)
{
    char bucket[128], le[64];
    snprintf(bucket, sizeof bucket, "%s_bucket", name);
    double all = samples_grown(before, after, bucket, "le", "+Inf"), low = 0, below = 0;
    if (all <= 0)
        return -1;
    for (size_t i = 0; i < after->n; i++) { /* in the order of their bounds */
        if (strcmp(after->v[i].name, bucket) != 0 || !samples_label(after->v[i].labels, "le", le, sizeof le))
            continue;
        double high = strcmp(le, "+Inf") == 0 ? INFINITY : strtod(le, NULL);
        double upto = samples_grown(before, after, bucket, "le", le);
        if (upto >= q * all)
            return isinf(high) || upto <= below ? low : low + (high - low) * (q * all - below) / (upto - below);
        low = high;
        below = upto;
    }
    return low;
}
