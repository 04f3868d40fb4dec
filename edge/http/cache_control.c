/* One table lists the directives with what they are: a flag that restricts, a flag that permits, a number of seconds, a
 * list of names. Reading is by hand because the field in the wild is not what its grammar says: quotes stay open, '='
 * has spaces around it, words stand where a comma should be. Whatever is odd about a directive ("junk") makes a
 * restriction count all the same and a permission not. Behind a quote that is never closed everything is junk. */
#include "edge/http/cache_control.h"

#include "edge/http/chars.h"
#include "edge/http/sf.h"

typedef enum directive_kind {
    RESTRICTS,
    PERMITS,
    SECONDS,
    MIN_FRESH,
    MAX_STALE,
    NAMES_NO_CACHE,
    NAMES_PRIVATE
} directive_kind_t;

static const struct directive {
    span_t name;
    directive_kind_t kind;
    uint32_t flag;   /* of the flags */
    size_t seconds;  /* of SECONDS: where in cache_control_t */
    bool response;   /* may stand in a targeted field */
    uint32_t shares; /* the flag for what it permits beside, where it is well formed */
} directives[] = {
#define NAME(literal)                                                                                                  \
    {                                                                                                                  \
        (literal), sizeof(literal) - 1                                                                                 \
    }
#define SECONDS_OF(member) 0, offsetof(cache_control_t, member)
    {NAME("max-age"), SECONDS, SECONDS_OF(max_age), true, 0},
    {NAME("s-maxage"), SECONDS, SECONDS_OF(s_maxage), true, CACHE_CONTROL_S_MAXAGE_SHARES},
    {NAME("stale-while-revalidate"), SECONDS, SECONDS_OF(stale_while_revalidate), true, 0},
    {NAME("stale-if-error"), SECONDS, SECONDS_OF(stale_if_error), true, 0},
    {NAME("no-cache"), NAMES_NO_CACHE, CACHE_CONTROL_NO_CACHE, 0, true, 0},
    {NAME("private"), NAMES_PRIVATE, CACHE_CONTROL_PRIVATE, 0, true, 0},
    {NAME("no-store"), RESTRICTS, CACHE_CONTROL_NO_STORE, 0, true, 0},
    {NAME("must-revalidate"), RESTRICTS, CACHE_CONTROL_MUST_REVALIDATE, 0, true, CACHE_CONTROL_MUST_REVALIDATE_SHARES},
    {NAME("proxy-revalidate"), RESTRICTS, CACHE_CONTROL_PROXY_REVALIDATE, 0, true, 0},
    {NAME("no-transform"), RESTRICTS, CACHE_CONTROL_NO_TRANSFORM, 0, true, 0},
    {NAME("must-understand"), PERMITS, CACHE_CONTROL_MUST_UNDERSTAND, 0, true, 0},
    {NAME("public"), PERMITS, CACHE_CONTROL_PUBLIC, 0, true, 0},
    {NAME("immutable"), PERMITS, CACHE_CONTROL_IMMUTABLE, 0, true, 0},
    {NAME("only-if-cached"), RESTRICTS, CACHE_CONTROL_ONLY_IF_CACHED, 0, false, 0},
    {NAME("min-fresh"), MIN_FRESH, 0, 0, false, 0},
    {NAME("max-stale"), MAX_STALE, CACHE_CONTROL_MAX_STALE_ANY, 0, false, 0},
#undef NAME
#undef SECONDS_OF
};
enum { DIRECTIVES = sizeof directives / sizeof *directives };

typedef struct argument {
    bool present;
    bool junk; /* the directive is not of the grammar */
    bool quoted;
    span_t text; /* of a quoted string: between the quotes, still escaped */
} argument_t;

void cache_control_init(cache_control_t *cc)
{
    cc->flags = 0;
    cc->max_age = cc->s_maxage = cc->stale_while_revalidate = cc->stale_if_error = CACHE_CONTROL_ABSENT;
    cc->min_fresh = cc->max_stale = CACHE_CONTROL_ABSENT;
    cc->no_cache_names_n = cc->private_names_n = 0;
}

bool cache_control_lists(const span_t *names, size_t n, span_t name)
{
    for (size_t i = 0; i < n; i++)
        if (span_caseeq(names[i], name))
            return true;
    return false;
}

/* delta-seconds (RFC 9111 1.2.2), clamped; false when it is none. */
static bool seconds_of(const argument_t *arg, int64_t *out)
{
    int64_t v = 0;
    if (!arg->present || arg->junk || arg->text.n == 0 || !chars_all(arg->text, CHARS_DIGIT))
        return false;
    for (size_t i = 0; i < arg->text.n && v < CACHE_CONTROL_MOST; i++)
        v = v * 10 + (arg->text.p[i] - '0');
    *out = v < CACHE_CONTROL_MOST ? v : CACHE_CONTROL_MOST;
    return true;
}

/* ---- field lists ---- */

typedef struct names {
    span_t *v;
    size_t *n;
    uint32_t plain, fields; /* the flags of the unqualified and the qualified form */
} names_t;

static names_t names_of(cache_control_t *cc, directive_kind_t kind)
{
    if (kind == NAMES_NO_CACHE)
        return (names_t){cc->no_cache_names, &cc->no_cache_names_n, CACHE_CONTROL_NO_CACHE,
                         CACHE_CONTROL_NO_CACHE_FIELDS};
    return (names_t){cc->private_names, &cc->private_names_n, CACHE_CONTROL_PRIVATE, CACHE_CONTROL_PRIVATE_FIELDS};
}

static void names_unqualified(cache_control_t *cc, names_t names)
{
    cc->flags = (cc->flags | names.plain) & ~names.fields;
    *names.n = 0;
}

/* #field-name; anything else in it, nothing in it, or too much of it is the unqualified form. */
static void names_add(cache_control_t *cc, names_t names, span_t list)
{
    size_t before = *names.n;
    if (cc->flags & names.plain)
        return;
    while (list.n > 0) {
        size_t comma = span_find(list, ',');
        span_t name = span_trim(span_upto(list, comma));
        list = span_from(list, comma + 1);
        if (name.n == 0)
            continue;
        if (!chars_all(name, CHARS_TOKEN) || *names.n == CACHE_CONTROL_MAX_NAMES) {
            names_unqualified(cc, names);
            return;
        }
        names.v[(*names.n)++] = name;
    }
    if (*names.n == before)
        names_unqualified(cc, names);
    else
        cc->flags |= names.fields;
}

/* ---- one directive ---- */

static void lower(int64_t *have, int64_t v)
{
    if (*have == CACHE_CONTROL_ABSENT || v < *have)
        *have = v;
}

static void apply(cache_control_t *cc, const struct directive *d, const argument_t *arg)
{
    int64_t v = 0;
    switch (d->kind) {
    case RESTRICTS:
        cc->flags |= d->flag | (!arg->present && !arg->junk ? d->shares : 0);
        break;
    case PERMITS:
        if (!arg->present && !arg->junk)
            cc->flags |= d->flag;
        break;
    case SECONDS:
        cc->flags |= seconds_of(arg, &v) ? d->shares : 0;
        lower((int64_t *)((char *)cc + d->seconds), v);
        break;
    case MIN_FRESH:
        if (!seconds_of(arg, &v))
            v = CACHE_CONTROL_MOST;
        if (v > cc->min_fresh)
            cc->min_fresh = v;
        break;
    case MAX_STALE:
        if (!arg->present && !arg->junk) {
            if (cc->max_stale == CACHE_CONTROL_ABSENT)
                cc->flags |= d->flag;
        } else {
            cc->flags &= ~d->flag;
            lower(&cc->max_stale, seconds_of(arg, &v) ? v : 0);
        }
        break;
    case NAMES_NO_CACHE:
    case NAMES_PRIVATE:
        if (arg->present && !arg->junk)
            names_add(cc, names_of(cc, d->kind), arg->text);
        else
            names_unqualified(cc, names_of(cc, d->kind));
        break;
    }
}

static const struct directive *directive_named(span_t name)
{
    for (size_t i = 0; i < DIRECTIVES; i++)
        if (span_caseeq(directives[i].name, name))
            return &directives[i];
    return NULL;
}

/* ---- a line of Cache-Control ---- */

/* Text is at the opening quote. The bytes between the quotes; false when it isn't closed. */
static bool quoted_string(span_t text, span_t *inside)
{
    for (size_t i = 1; i < text.n; i++) {
        if (text.p[i] == '\\')
            i++;
        else if (text.p[i] == '"') {
            *inside = span_of(text.p + 1, i - 1);
            return true;
        }
    }
    return false;
}

static span_t token_at(span_t text)
{
    size_t n = 0;
    while (n < text.n && chars_is(text.p[n], CHARS_TOKEN))
        n++;
    return span_upto(text, n);
}

static span_t skip_space(span_t text)
{
    while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
        text = span_from(text, 1);
    return text;
}

void cache_control_add(cache_control_t *cc, span_t line)
{
    bool open = false; /* behind a quote that was never closed */
    for (line = skip_space(line); line.n > 0; line = skip_space(line)) {
        argument_t arg = {.junk = open};
        span_t name = token_at(line);
        line = span_from(line, name.n);
        if (name.n > 0 && line.n > 0 && line.p[0] == '=') {
            arg.present = true;
            line = span_from(line, 1);
            arg.quoted = !open && line.n > 0 && line.p[0] == '"';
            if (!arg.quoted) {
                arg.text = token_at(line);
                arg.junk |= arg.text.n == 0;
                line = span_from(line, arg.text.n);
            } else if (quoted_string(line, &arg.text))
                line = span_from(line, arg.text.n + 2);
            else {
                arg.junk = open = true;
                line = span_from(line, 1);
            }
        }
        /* Now a comma is due; quoted strings on the way to it are stepped over. */
        for (line = skip_space(line); line.n > 0 && line.p[0] != ',';) {
            span_t inside;
            arg.junk = true;
            if (line.p[0] != '"' || open)
                line = span_from(line, 1);
            else if (quoted_string(line, &inside))
                line = span_from(line, inside.n + 2);
            else
                open = true;
        }
        line = span_from(line, 1);
        const struct directive *d = directive_named(name);
        if (d != NULL)
            apply(cc, d, &arg);
    }
}

bool cache_control_parse(cache_control_t *cc, const fields_t *f, span_t name)
{
    span_t line;
    bool any = false;
    cache_control_init(cc);
    for (size_t at = 0; fields_next(f, name, &at, &line); any = true)
        cache_control_add(cc, line);
    return any;
}

/* ---- targeted fields ---- */

/* The types that RFC 9213 2.1 infers: integer for seconds, true for flags, true or a string for lists. */
static bool apply_member(cache_control_t *cc, const struct directive *d, const sf_value_t *v)
{
    bool flag = v->type == SF_BOOLEAN && v->number == 1;
    if (d->kind == SECONDS) {
        if (v->type != SF_INTEGER || v->number < 0)
            return false;
        *(int64_t *)((char *)cc + d->seconds) = v->number < CACHE_CONTROL_MOST ? v->number : CACHE_CONTROL_MOST;
        cc->flags |= d->shares;
        return true;
    }
    bool list = v->type == SF_STRING && (d->kind == NAMES_NO_CACHE || d->kind == NAMES_PRIVATE);
    if (!flag && !list)
        return false;
    apply(cc, d, &(argument_t){.present = list, .quoted = list, .text = v->text});
    return true;
}

static bool parse_dictionary(cache_control_t *cc, span_t text)
{
    sf_t it;
    span_t key;
    sf_value_t v, last[DIRECTIVES];
    bool seen[DIRECTIVES] = {false}, any = false;
    err_t e;
    sf_init(&it, text);
    while ((e = sf_dictionary_next(&it, &key, &v)) == ERR_OK) {
        const struct directive *d = directive_named(key);
        any = true;
        if (d != NULL && d->response) {
            last[d - directives] = v;
            seen[d - directives] = true;
        }
    }
    if (e != ERR_NOT_FOUND || !any)
        return false;
    for (size_t i = 0; i < DIRECTIVES; i++)
        if (seen[i] && !apply_member(cc, &directives[i], &last[i]))
            return false;
    return true;
}

cache_control_targeted_t cache_control_parse_targeted(cache_control_t *cc, const fields_t *f, span_t name,
                                                      arena_t *scratch)
{
    cache_control_init(cc);
    span_t text = fields_join(f, name, scratch);
    if (text.p == NULL)
        return CACHE_CONTROL_TARGETED_NONE;
    if (parse_dictionary(cc, text))
        return CACHE_CONTROL_TARGETED_VALID;
    cache_control_init(cc);
    return CACHE_CONTROL_TARGETED_NONE;
}
