/* A field read as dictionary, list and item: it ends, stays within its bytes, and what was accepted can be walked and
 * decoded. */
#include "edge/base/check.h"
#include "edge/http/sf.h"

static span_t input;

static void expect_inside(span_t s)
{
    CHECK(s.n == 0 || (s.p >= input.p && s.p + s.n <= input.p + input.n));
}

static void walk(const sf_value_t *v, arena_t *a)
{
    sf_t it;
    sf_value_t part;
    span_t key;
    err_t e;
    expect_inside(v->text);
    expect_inside(v->params);
    span_t text = sf_text(v, a);
    if (v->type == SF_STRING || v->type == SF_TOKEN || v->type == SF_BYTES || v->type == SF_DISPLAY)
        CHECK(text.p != NULL && text.n <= v->text.n);
    if (v->type == SF_STRING) { /* written and read again it is the same */
        sf_value_t back;
        span_t written = sf_write_name(a, text);
        CHECK(written.p != NULL && sf_item(written, &back) == ERR_OK);
        CHECK(span_eq(sf_text(&back, a), text));
    }
    if (v->type == SF_INNER_LIST) {
        sf_init(&it, v->text);
        while ((e = sf_inner_next(&it, &part)) == ERR_OK)
            walk(&part, a);
        CHECK(e == ERR_NOT_FOUND);
    }
    sf_init(&it, v->params);
    while ((e = sf_params_next(&it, &key, &part)) == ERR_OK) {
        expect_inside(key);
        CHECK(key.n > 0 && part.type != SF_INNER_LIST);
    }
    CHECK(e == ERR_NOT_FOUND);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_t a;
    sf_t it;
    sf_value_t v;
    span_t key;
    err_t e;
    arena_init(&a, 0);
    input = span_of((const char *)data, size);
    sf_init(&it, input);
    while ((e = sf_dictionary_next(&it, &key, &v)) == ERR_OK) {
        expect_inside(key);
        walk(&v, &a);
    }
    CHECK(e == ERR_NOT_FOUND || e == ERR_SYNTAX);
    sf_init(&it, input);
    while ((e = sf_list_next(&it, &v)) == ERR_OK)
        walk(&v, &a);
    CHECK(e == ERR_NOT_FOUND || e == ERR_SYNTAX);
    if (sf_item(input, &v) == ERR_OK)
        walk(&v, &a);
    arena_release(&a);
    return 0;
}
