/* The encoder against the library's decoder: what is decoded must be what was encoded, whatever the table went through.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "edge/serve/serve_priv.h"

typedef struct peer {
    h2_head_t head;
    h2o_hpack_header_table_t table;
    size_t last; /* size of the last block */
} peer_t;

static void peer_init(peer_t *p)
{
    memset(p, 0, sizeof *p);
    h2_head_init(&p->head);
    p->table.hpack_capacity = p->table.hpack_max_capacity = 4096;
}

static void peer_release(peer_t *p)
{
    h2_head_release(&p->head);
    h2o_hpack_dispose_header_table(&p->table);
}

/* The library decodes responses of its client half; status and fields are compared. */
static void peer_exchange(peer_t *p, int status, const field_t *v, size_t n, int64_t length)
{
    uint8_t *block = malloc(h2_head_bound(v, n));
    p->last = h2_head_encode(&p->head, block, status, v, n, length);
    cr_assert_leq(p->last, h2_head_bound(v, n));
    h2o_req_t req;
    memset(&req, 0, sizeof req);
    h2o_mem_init_pool(&req.pool);
    /* The request decoder refuses :status, so it is cut off: it comes right after the size updates. */
    uint8_t *at = block;
    const char *err = NULL;
    size_t content_length;
    int map = 0;
    uint8_t *updates = at;
    while ((*at & 0xe0) == 0x20) {
        bool more = (*at++ & 0x1f) == 0x1f;
        while (more && (*at++ & 0x80))
            ;
    }
    size_t update_len = (size_t)(at - updates);
    if (*at & 0x80) {
        cr_assert_eq(*at++ & 0x7f, status == 200 ? 8 : 13, "status %d", status);
    } else {
        cr_assert_eq((at[2] - '0') * 100 + (at[3] - '0') * 10 + at[4] - '0', status);
        at += 5;
    }
    memmove(at - update_len, updates, update_len);
    at -= update_len;
    int r =
        h2o_hpack_parse_headers(&req, &p->table, at, (size_t)(block + p->last - at), &map, &content_length, NULL, &err);
    cr_assert_eq(r, 0, "%d %s", r, err != NULL ? err : "");
    cr_assert_eq(req.headers.size, n);
    for (size_t i = 0; i < n; i++) {
        const h2o_header_t *h = &req.headers.entries[i];
        cr_assert(span_eq(span_of(h->name->base, h->name->len), v[i].name));
        cr_assert(span_eq(span_of(h->value.base, h->value.len), v[i].value));
    }
    cr_assert_eq(content_length, length >= 0 ? (size_t)length : SIZE_MAX);
    h2o_mem_clear_pool(&req.pool);
    free(block);
}

Test(h2_head, what_repeats_is_indexed_and_what_does_not_is_not)
{
    peer_t p;
    peer_init(&p);
    for (int i = 0; i < 500; i++) {
        char etag[32], age[16];
        snprintf(etag, sizeof etag, "\"%d-abcdef\"", i);
        snprintf(age, sizeof age, "%d", i);
        field_t v[] = {{SPAN("content-type"), SPAN("text/html; charset=utf-8")},
                       {SPAN("etag"), span_str(etag)},
                       {SPAN("age"), span_str(age)},
                       {SPAN("x-own"), SPAN("value of the application")},
                       {SPAN("set-cookie"), SPAN("secret=1")}};
        peer_exchange(&p, 200, v, 5, i * 1000);
        cr_expect_leq(p.head.count, 3U);
    }
    cr_expect_eq(p.head.count, 2U, "%u entries", p.head.count);
    cr_expect_lt(p.last, 45U, "%zu bytes", p.last);
    peer_release(&p);
}

Test(h2_head, thousands_of_fields_and_every_size_of_table)
{
    peer_t p;
    peer_init(&p);
    srand(7);
    static char value[4000];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 5000; i++) {
        if (rand() % 50 == 0) {
            static const uint32_t sizes[] = {0, 100, 4096, 65536, 1000, 4096};
            uint32_t size = sizes[rand() % 6];
            h2_head_set_capacity(&p.head, size);
            if (rand() % 3 == 0)
                h2_head_set_capacity(&p.head, 0), h2_head_set_capacity(&p.head, size);
        }
        if (rand() % 200 == 0)
            h2_head_resync(&p.head);
        field_t v[8];
        char names[8][16];
        size_t n = 1 + (size_t)rand() % 8;
        for (size_t k = 0; k < n; k++) {
            snprintf(names[k], sizeof names[k], "x-%d", rand() % 40);
            v[k] =
                (field_t){span_str(names[k]), span_of(value, (size_t)(rand() % 20 == 0 ? rand() % 4000 : rand() % 60))};
        }
        peer_exchange(&p, rand() % 2 ? 200 : 503, v, n, rand() % 2 ? rand() : -1);
        cr_assert_leq(p.head.bytes, p.head.capacity);
    }
    peer_release(&p);
}
