/* Selecting fields. The packed form lists the names in Vary, sorted, each with what the request said in normal form:
 *
 *   1 byte length of the name, the name in lower case, 2 bytes (big-endian) 0 = absent or 1 + length of the value, the
 * value
 *
 * so that equal meaning gives equal bytes, and comparing is memcmp. Before them, where Accept-Language selects and the
 * response names its one language, an entry "=" (no field has that name) holds that language; it is no part of the
 * variant's identity. Two requests mean the same when they differ in
 * white space around commas, in how a list is spread over lines, and, for Accept-Encoding and Accept-Language, in case,
 * order and the way in which a weight is written (RFC 9111 4.1). Fields that are no lists keep every byte. The packed
 * form comes back from disk, so reading it trusts nothing. */
#include "edge/policy/vary.h"

#include <stdlib.h>

#include "edge/http/weighted.h"

static const fields_t no_fields;

/* Not lists (RFC 9110 5.3): a comma in them separates nothing. */
static bool singleton(span_t name)
{
    static const char *const names[] = {"authorization",      "cookie", "from",  "host",    "if-modified-since",
                                        "if-range",           "origin", "range", "referer", "user-agent",
                                        "proxy-authorization"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, span_str(names[i])))
            return true;
    return false;
}

/* ---- values in normal form ---- */

typedef struct member {
    span_t name;
    unsigned weight; /* thousandths */
} member_t;

static int by_name(const void *a, const void *b)
{
    const member_t *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n); /* names are tokens: not empty */
    if (c != 0)
        return c;
    if (x->name.n != y->name.n)
        return x->name.n < y->name.n ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

static span_t lower_copy(arena_t *a, span_t s)
{
    span_t copy = arena_copy(a, s);
    char *p = (char *)copy.p;
    for (size_t i = 0; i < copy.n; i++)
        p[i] = span_lower(p[i]);
    return copy;
}

/* "gzip ; Q=0.50" → gzip, 500. False: something that we don't understand, so it is compared as it is written. */
static bool read_member(span_t text, arena_t *a, member_t *out)
{
    span_t name;
    if (!weighted_read(text, &name, &out->weight))
        return false;
    span_t copy = lower_copy(a, name);
    if (copy.p == NULL || !fields_name_valid(copy))
        return false;
    /* RFC 9110 8.4.1.3: x-gzip and x-compress are gzip and compress. */
    out->name = span_eq(copy, SPAN("x-gzip")) || span_eq(copy, SPAN("x-compress")) ? span_from(copy, 2) : copy;
    return true;
}

typedef struct text {
    char *p;
    size_t n;
} text_t;

static void add(text_t *t, span_t s)
{
    if (s.p != NULL)
        memcpy(t->p + t->n, s.p, s.n);
    t->n += s.n;
}

static bool normalise_weighted(span_t joined, arena_t *a, span_t *out)
{
    span_t rest = joined, member;
    size_t n = 0, most = 0;
    while (weighted_next(&rest, &member))
        most++;
    member_t *v = arena_alloc(a, (most + 1) * sizeof *v);
    /* "," and ";500" are the most that is added to a name. */
    text_t t = {.p = arena_alloc(a, joined.n + most * 5 + 1)};
    if (v == NULL || t.p == NULL)
        return false;
    /* No value as it came begins like this, so what can't be read never looks like what can. */
    add(&t, SPAN("\t"));
    for (rest = joined; weighted_next(&rest, &member); n++)
        if (!read_member(member, a, &v[n]))
            return false;
    qsort(v, n, sizeof *v, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && span_eq(v[i].name, v[i - 1].name) && v[i].weight == v[i - 1].weight)
            continue;
        if (i > 0)
            add(&t, SPAN(","));
        add(&t, v[i].name);
        char weight[] = {';', (char)('0' + v[i].weight / 100 % 10), (char)('0' + v[i].weight / 10 % 10),
                         (char)('0' + v[i].weight % 10)};
        if (v[i].weight < WEIGHTED_ONE)
            add(&t, span_of(weight, sizeof weight));
    }
    *out = span_of(t.p, t.n);
    return true;
}

/* SPAN_NONE: absent. False: the arena is full. */
static bool normalise(span_t name, const fields_t *request, arena_t *a, span_t *out)
{
    *out = SPAN_NONE;
    if (!fields_has(request, name))
        return true;
    span_t joined = fields_join(request, name, a);
    if (joined.p == NULL)
        return false;
    if (singleton(name)) {
        *out = span_trim(joined);
        return true;
    }
    bool weighted = span_eq(name, SPAN("accept-encoding")) || span_eq(name, SPAN("accept-language"));
    if (weighted && normalise_weighted(joined, a, out))
        return true;
    text_t t = {.p = arena_alloc(a, joined.n + 1)};
    if (t.p == NULL)
        return false;
    for (span_t member; weighted_next(&joined, &member);) {
        if (t.n > 0)
            add(&t, SPAN(","));
        add(&t, member);
    }
    *out = span_of(t.p, t.n);
    return true;
}

/* ---- names ---- */

static err_t add_name(arena_t *a, span_t name, span_t names[VARY_MAX_NAMES], size_t *n)
{
    size_t at = 0;
    int c = -1;
    span_t copy = lower_copy(a, name);
    if (copy.p == NULL || !fields_name_valid(copy) || copy.n > 255 || span_eq(copy, SPAN("*")))
        return ERR_RANGE;
    while (at < *n && (c = by_name(&(member_t){.name = copy}, &(member_t){.name = names[at]})) > 0)
        at++;
    if (at < *n && c == 0)
        return ERR_OK;
    if (*n == VARY_MAX_NAMES)
        return ERR_RANGE;
    memmove(names + at + 1, names + at, (*n - at) * sizeof *names);
    names[at] = copy;
    ++*n;
    return ERR_OK;
}

/* Sorted, each once, in lower case. */
static err_t read_names(arena_t *a, const fields_t *response, span_t names[VARY_MAX_NAMES], size_t *n)
{
    span_t line, member;
    *n = 0;
    for (size_t i = 0; fields_next(response, SPAN("vary"), &i, &line);)
        while (weighted_next(&line, &member)) {
            err_t e = add_name(a, member, names, n);
            if (e != ERR_OK)
                return e;
        }
    return ERR_OK;
}

/* ---- the packed form ---- */

/* Takes one entry off; false at the end or where the bytes make no sense (then packed->n > 0). */
static bool next_entry(span_t *packed, span_t *name, span_t *value)
{
    const unsigned char *p = (const unsigned char *)packed->p;
    if (packed->n < 3 || p[0] == 0 || packed->n - 3 < p[0])
        return false;
    size_t at = 1u + p[0];
    size_t coded = (size_t)p[at] << 8 | p[at + 1];
    at += 2;
    size_t length = coded == 0 ? 0 : coded - 1;
    if (packed->n - at < length)
        return false;
    *name = span_of(packed->p + 1, p[0]);
    *value = coded == 0 ? SPAN_NONE : span_of(packed->p + at, length);
    *packed = span_from(*packed, at + length);
    return true;
}

/* The one language that the response says it is in; .p NULL: none, several, or not to be kept. */
static span_t read_language(arena_t *a, const fields_t *response, const span_t *names, size_t n)
{
    bool selects = false;
    for (size_t i = 0; i < n; i++)
        selects |= span_eq(names[i], SPAN("accept-language"));
    span_t language = fields_get(response, SPAN("content-language"));
    if (!selects || language.n > 64 || fields_count(response, SPAN("content-language")) != 1 ||
        !fields_name_valid(language))
        return SPAN_NONE;
    return lower_copy(a, language);
}

/* Takes off the entry that holds the language. */
static span_t take_language(span_t *packed)
{
    span_t rest = *packed, name, value;
    if (!next_entry(&rest, &name, &value) || !span_eq(name, SPAN("=")))
        return SPAN_NONE;
    *packed = rest;
    return value;
}

static void add_entry(text_t *t, span_t name, span_t value)
{
    size_t coded = value.p == NULL ? 0 : value.n + 1;
    char length = (char)name.n;
    char lengths[] = {(char)(coded >> 8), (char)(coded & 0xff)};
    add(t, span_of(&length, 1));
    add(t, name);
    add(t, span_of(lengths, 2));
    add(t, value);
}

err_t vary_pack(arena_t *a, const fields_t *response, const fields_t *request, span_t *packed)
{
    span_t names[VARY_MAX_NAMES], values[VARY_MAX_NAMES];
    size_t n, size = 0;
    *packed = SPAN_NONE;
    if (request == NULL)
        request = &no_fields;
    err_t e = read_names(a, response, names, &n);
    if (e != ERR_OK)
        return e;
    if (n == 0)
        return ERR_OK;
    for (size_t i = 0; i < n; i++) {
        if (!normalise(names[i], request, a, &values[i]))
            return ERR_RANGE;
        size += 3 + names[i].n + values[i].n;
    }
    span_t language = read_language(a, response, names, n);
    if (language.n > 0)
        size += 4 + language.n;
    if (size > VARY_MAX_BYTES)
        return ERR_RANGE;
    text_t t = {.p = arena_alloc(a, size)};
    if (t.p == NULL)
        return ERR_RANGE;
    if (language.n > 0)
        add_entry(&t, SPAN("="), language);
    for (size_t i = 0; i < n; i++)
        add_entry(&t, names[i], values[i]);
    *packed = span_of(t.p, t.n);
    return ERR_OK;
}

/* Is this the language that the request wants most, before all others? */
static bool language_preferred(span_t language, const fields_t *request, arena_t *scratch)
{
    span_t rest = fields_join(request, SPAN("accept-language"), scratch), text;
    unsigned best = 0, ties = 0;
    bool ours = false;
    if (language.n == 0 || rest.p == NULL)
        return false;
    while (weighted_next(&rest, &text)) {
        member_t m;
        if (!read_member(text, scratch, &m))
            return false;
        if (m.weight < best || m.weight == 0)
            continue;
        ties = m.weight > best ? 1 : ties + 1;
        best = m.weight;
        /* RFC 4647 3.3.1: "de" stands for "de-at" too */
        ours = span_starts(language, m.name) && (language.n == m.name.n || language.p[m.name.n] == '-');
    }
    return ties == 1 && ours;
}

static bool match(span_t packed, const fields_t *request, arena_t *scratch, bool by_language)
{
    span_t language = take_language(&packed), name, stored, asked;
    while (next_entry(&packed, &name, &stored)) {
        if (normalise(name, request, scratch, &asked) &&
            (asked.p == NULL || stored.p == NULL ? asked.p == stored.p : span_eq(asked, stored)))
            continue;
        if (!by_language || !span_eq(name, SPAN("accept-language")) || !language_preferred(language, request, scratch))
            return false;
    }
    return packed.n == 0;
}

bool vary_match(span_t packed, const fields_t *request, arena_t *scratch)
{
    return match(packed, request, scratch, false);
}

bool vary_match_language(span_t packed, const fields_t *request, arena_t *scratch)
{
    return match(packed, request, scratch, true);
}

uint64_t vary_digest(span_t packed)
{
    take_language(&packed);
    if (packed.n == 0)
        return 0;
    uint64_t h = hash_64(packed, 0);
    return h + (h == 0); /* zero says: no Vary */
}

bool vary_same_names(span_t a, span_t b)
{
    span_t name_a, name_b, value;
    take_language(&a);
    take_language(&b);
    while (a.n > 0 && b.n > 0)
        if (!next_entry(&a, &name_a, &value) || !next_entry(&b, &name_b, &value) || !span_eq(name_a, name_b))
            return false;
    return a.n == 0 && b.n == 0;
}

bool vary_next(span_t *packed, span_t *entry, span_t *name, span_t *value)
{
    take_language(packed);
    span_t before = *packed;
    if (!next_entry(packed, name, value))
        return false;
    *entry = span_upto(before, before.n - packed->n);
    if (span_starts(*value, SPAN("\t"))) /* says that it was read as a weighted list */
        *value = span_from(*value, 1);
    return true;
}
