/* A structured field, parsed and written as RFC 9651 4.1 says, is a fixed point: parsed and written again it is the
 * same. The writer is the test's own. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "edge/http/sf.h"

typedef struct out {
    char text[4096];
    size_t n;
} out_t;

static void add(out_t *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(out_t *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    o->n += (size_t)vsnprintf(o->text + o->n, sizeof o->text - o->n, fmt, ap);
    va_end(ap);
    cr_assert_lt(o->n, sizeof o->text);
}

static void write_bytes(out_t *o, span_t s)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    add(o, ":");
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (i + k < s.n ? (unsigned char)s.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            add(o, "%c", i + k < s.n + 1 ? alphabet[v >> (18 - 6 * k) & 63] : '=');
    }
    add(o, ":");
}

static void write_value(out_t *o, const sf_value_t *v, arena_t *a);

static void write_params(out_t *o, span_t params, arena_t *a)
{
    sf_t it;
    span_t key;
    sf_value_t p;
    err_t e;
    sf_init(&it, params);
    while ((e = sf_params_next(&it, &key, &p)) == ERR_OK) {
        add(o, ";%.*s", SPAN_ARG(key));
        if (p.type != SF_BOOLEAN || p.number == 0) {
            add(o, "=");
            write_value(o, &p, a);
        }
    }
    cr_assert_eq(e, ERR_NOT_FOUND);
}

static void write_inner(out_t *o, span_t text, arena_t *a)
{
    sf_t it;
    sf_value_t v;
    err_t e;
    sf_init(&it, text);
    add(o, "(");
    for (bool first = true; (e = sf_inner_next(&it, &v)) == ERR_OK; first = false) {
        add(o, "%s", first ? "" : " ");
        write_value(o, &v, a);
        write_params(o, v.params, a);
    }
    cr_assert_eq(e, ERR_NOT_FOUND);
    add(o, ")");
}

static void write_value(out_t *o, const sf_value_t *v, arena_t *a)
{
    span_t text = sf_text(v, a);
    switch (v->type) {
    case SF_INTEGER:
        add(o, "%" PRId64, v->number);
        break;
    case SF_DECIMAL: {
        uint64_t n = v->number < 0 ? -(uint64_t)v->number : (uint64_t)v->number;
        char fraction[8];
        snprintf(fraction, sizeof fraction, "%03d", (int)(n % 1000));
        for (size_t i = 2; i > 0 && fraction[i] == '0'; i--)
            fraction[i] = '\0';
        add(o, "%s%" PRIu64 ".%s", v->number < 0 ? "-" : "", n / 1000, fraction);
        break;
    }
    case SF_BOOLEAN:
        add(o, "?%d", (int)v->number);
        break;
    case SF_DATE:
        add(o, "@%" PRId64, v->number);
        break;
    case SF_TOKEN:
        add(o, "%.*s", SPAN_ARG(text));
        break;
    case SF_STRING:
        add(o, "\"");
        for (size_t i = 0; i < text.n; i++)
            add(o, "%s%c", text.p[i] == '"' || text.p[i] == '\\' ? "\\" : "", text.p[i]);
        add(o, "\"");
        break;
    case SF_DISPLAY:
        add(o, "%%\"");
        for (size_t i = 0; i < text.n; i++) {
            unsigned char c = (unsigned char)text.p[i];
            if (c == '%' || c == '"' || c < 0x20 || c > 0x7e)
                add(o, "%%%02x", c);
            else
                add(o, "%c", c);
        }
        add(o, "\"");
        break;
    case SF_BYTES:
        write_bytes(o, text);
        break;
    case SF_INNER_LIST:
        write_inner(o, v->text, a);
        break;
    }
}

static bool write_list(out_t *o, span_t field, arena_t *a)
{
    sf_t it;
    sf_value_t v;
    err_t e;
    o->n = 0;
    o->text[0] = '\0';
    sf_init(&it, field);
    for (bool first = true; (e = sf_list_next(&it, &v)) == ERR_OK; first = false) {
        add(o, "%s", first ? "" : ", ");
        write_value(o, &v, a);
        write_params(o, v.params, a);
    }
    return e == ERR_NOT_FOUND;
}

static bool write_dictionary(out_t *o, span_t field, arena_t *a)
{
    sf_t it;
    span_t key;
    sf_value_t v;
    err_t e;
    o->n = 0;
    o->text[0] = '\0';
    sf_init(&it, field);
    for (bool first = true; (e = sf_dictionary_next(&it, &key, &v)) == ERR_OK; first = false) {
        add(o, "%s%.*s", first ? "" : ", ", SPAN_ARG(key));
        if (v.type != SF_BOOLEAN || v.number == 0) {
            add(o, "=");
            write_value(o, &v, a);
        }
        write_params(o, v.params, a);
    }
    return e == ERR_NOT_FOUND;
}

static uint64_t noise(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

Test(sf_writing, what_was_written_is_written_again)
{
    static const char *const pieces[] = {"1",
                                         "-007",
                                         "1.50",
                                         "-0.125",
                                         "\"a\\\"b\\\\\"",
                                         "tok/en:*",
                                         "*",
                                         ":aGk=:",
                                         ":aGk:",
                                         "::",
                                         "?1",
                                         "?0",
                                         "@17",
                                         "%\"a%c3%a4%25\"",
                                         "(",
                                         ")",
                                         " ",
                                         ", ",
                                         ",\t",
                                         ";a=1",
                                         ";b",
                                         "; c=\"x\"",
                                         "=",
                                         "k=",
                                         "key=",
                                         "*k=",
                                         "(1 2)",
                                         "(a  \"b\";q=?1 )",
                                         "()",
                                         "1000000000000.5",
                                         "999999999999999"};
    uint64_t seed = 965100;
    int lists = 0, dictionaries = 0;
    for (int round = 0; round < 150000; round++) {
        char text[512] = "";
        static out_t once, twice;
        arena_t a;
        arena_init(&a, 0);
        for (int i = 1 + (int)(noise(&seed) % 7); i > 0; i--)
            strcat(text, pieces[noise(&seed) % (sizeof pieces / sizeof *pieces)]);
        if (write_list(&once, span_str(text), &a)) {
            lists++;
            cr_assert(write_list(&twice, span_str(once.text), &a), "%s: %s", text, once.text);
            cr_assert_str_eq(twice.text, once.text);
        }
        if (write_dictionary(&once, span_str(text), &a)) {
            dictionaries++;
            cr_assert(write_dictionary(&twice, span_str(once.text), &a), "%s: %s", text, once.text);
            cr_assert_str_eq(twice.text, once.text);
        }
        arena_release(&a);
    }
    cr_expect(lists > 10000 && dictionaries > 1000, "%d %d", lists, dictionaries);
}
