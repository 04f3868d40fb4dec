/* Lines of Cache-Control, one a line: numbers stay in their range, names are tokens of the input, and one more line
 * never makes the answer more permissive. The same bytes as a targeted field. */
#include "edge/base/check.h"
#include "edge/http/cache_control.h"
#include "edge/http/chars.h"

static void expect_seconds(int64_t v)
{
    CHECK(v >= CACHE_CONTROL_ABSENT && v <= CACHE_CONTROL_MOST);
}

static void expect_names(const cache_control_t *cc, const span_t *names, size_t n, uint32_t plain, uint32_t fields)
{
    CHECK(n <= CACHE_CONTROL_MAX_NAMES && (n > 0) == ((cc->flags & fields) != 0));
    CHECK((cc->flags & (plain | fields)) != (plain | fields));
    for (size_t i = 0; i < n; i++)
        CHECK(names[i].n > 0 && chars_all(names[i], CHARS_TOKEN));
}

static void expect_sound(const cache_control_t *cc)
{
    expect_seconds(cc->max_age);
    expect_seconds(cc->s_maxage);
    expect_seconds(cc->stale_while_revalidate);
    expect_seconds(cc->stale_if_error);
    expect_seconds(cc->min_fresh);
    expect_seconds(cc->max_stale);
    CHECK(!(cc->flags & CACHE_CONTROL_MAX_STALE_ANY) || cc->max_stale == CACHE_CONTROL_ABSENT);
    expect_names(cc, cc->no_cache_names, cc->no_cache_names_n, CACHE_CONTROL_NO_CACHE, CACHE_CONTROL_NO_CACHE_FIELDS);
    expect_names(cc, cc->private_names, cc->private_names_n, CACHE_CONTROL_PRIVATE, CACHE_CONTROL_PRIVATE_FIELDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum {
        RESTRICTS =
            CACHE_CONTROL_NO_STORE | CACHE_CONTROL_NO_CACHE | CACHE_CONTROL_PRIVATE | CACHE_CONTROL_MUST_REVALIDATE
    };
    arena_t a;
    fields_t f;
    cache_control_t cc, before;
    arena_init(&a, 0);
    fields_init(&f, &a);
    cache_control_init(&cc);
    for (span_t s = span_of((const char *)data, size); s.n > 0;) {
        size_t end = span_find(s, '\n');
        span_t line = span_upto(s, end);
        s = span_from(s, end + 1);
        if (fields_add(&f, SPAN("cc"), line) != ERR_OK)
            break;
        before = cc;
        cache_control_add(&cc, line);
        expect_sound(&cc);
        CHECK((before.flags & RESTRICTS & ~cc.flags) == 0);
        CHECK(before.max_age < 0 || (cc.max_age >= 0 && cc.max_age <= before.max_age));
        CHECK(before.s_maxage < 0 || (cc.s_maxage >= 0 && cc.s_maxage <= before.s_maxage));
    }
    if (cache_control_parse_targeted(&cc, &f, SPAN("cc"), &a) == CACHE_CONTROL_TARGETED_NONE)
        CHECK(cc.flags == 0 && cc.max_age < 0 && cc.s_maxage < 0);
    expect_sound(&cc);
    arena_release(&a);
    return 0;
}
