/* A list of chunks. A body of known length is one chunk; otherwise chunks double from 16 KiB to 1 MiB, so that a small
 * answer wastes little and a large one has few pieces. The order of publication is: bytes, then the chunk's link, then
 * `length` (release); a reader that loads `length` (acquire) may follow links and bytes up to there without a lock. */
#include "edge/store/body.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

struct body_chunk {
    struct body_chunk *next;
    uint64_t start; /* offset of bytes[0] in the body */
    size_t used;    /* writer only */
    size_t size;
    char bytes[];
};

body_t *body_new(int64_t declared)
{
    body_t *b = mem_zalloc(sizeof *b);
    atomic_init(&b->refs, 1);
    b->declared = declared;
    return b;
}

body_t *body_ref(body_t *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void body_unref(body_t *b)
{
    if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    account_t *account = atomic_load_explicit(&b->account, memory_order_relaxed);
    if (account != NULL)
        account_release(account, body_bytes(b));
    while (b->first != NULL) {
        struct body_chunk *c = b->first;
        b->first = c->next;
        free(c);
    }
    free(b);
}

static size_t body_next_size(const body_t *b, size_t need)
{
    uint64_t length = atomic_load_explicit(&b->length, memory_order_relaxed);
    if (b->declared >= 0)
        return (size_t)((uint64_t)b->declared - length);
    size_t size = b->last == NULL ? BODY_CHUNK_FIRST : b->last->size * 2;
    if (size > BODY_CHUNK_MOST)
        size = BODY_CHUNK_MOST;
    return size < need ? need : size;
}

size_t body_would_grow(const body_t *b, size_t n)
{
    size_t room = b->last != NULL ? b->last->size - b->last->used : 0;
    return n <= room ? 0 : sizeof(struct body_chunk) + body_next_size(b, n - room);
}

err_t body_append(body_t *b, span_t s, size_t *grown)
{
    uint64_t length = atomic_load_explicit(&b->length, memory_order_relaxed);
    size_t before = b->allocated, left = s.n;
    CHECK(body_state(b) == BODY_GROWING);
    if (b->declared >= 0 && s.n > (uint64_t)b->declared - length)
        return ERR_TOO_BIG;
    while (left > 0) {
        struct body_chunk *c = b->last;
        if (c == NULL || c->used == c->size) {
            size_t size = body_next_size(b, left);
            struct body_chunk *fresh = mem_alloc(sizeof *fresh + size);
            *fresh = (struct body_chunk){.start = length, .size = size};
            if (c != NULL)
                c->next = fresh;
            else
                b->first = fresh;
            b->last = c = fresh;
            b->allocated += sizeof *fresh + size;
        }
        size_t n = c->size - c->used < left ? c->size - c->used : left;
        memcpy(c->bytes + c->used, s.p + (s.n - left), n);
        c->used += n;
        left -= n;
        length += n;
    }
    atomic_store_explicit(&b->length, length, memory_order_release);
    if (grown != NULL)
        *grown = b->allocated - before;
    return ERR_OK;
}

char *body_room(body_t *b, size_t n)
{
    CHECK(body_state(b) == BODY_GROWING && b->declared >= 0 &&
          n <= (uint64_t)b->declared - atomic_load_explicit(&b->length, memory_order_relaxed));
    if (b->last == NULL) {
        struct body_chunk *fresh = mem_alloc(sizeof *fresh + (size_t)b->declared);
        *fresh = (struct body_chunk){.size = (size_t)b->declared};
        b->first = b->last = fresh;
        b->allocated += sizeof *fresh + fresh->size;
    }
    return b->last->bytes + b->last->used;
}

void body_grow(body_t *b, size_t n)
{
    b->last->used += n;
    atomic_store_explicit(&b->length, atomic_load_explicit(&b->length, memory_order_relaxed) + n, memory_order_release);
}

void body_end(body_t *b, body_state_t state)
{
    CHECK(body_state(b) == BODY_GROWING && state != BODY_GROWING);
    atomic_store_explicit(&b->state, state, memory_order_release);
}

/* The chunk that holds the cursor's byte; only called when that byte is published. */
static struct body_chunk *body_chunk_at(const body_t *b, body_cursor_t *c)
{
    struct body_chunk *k = c->chunk != NULL && c->chunk->start <= c->at ? c->chunk : b->first;
    while (c->at >= k->start + k->size)
        k = k->next;
    return c->chunk = k;
}

size_t body_read(const body_t *b, body_cursor_t *c, uint64_t end, struct iovec *v, size_t max_v, size_t max_bytes)
{
    uint64_t length = body_length(b);
    if (end > length)
        end = length;
    size_t n = 0;
    while (n < max_v && max_bytes > 0 && c->at < end) {
        struct body_chunk *k = body_chunk_at(b, c);
        uint64_t stop = k->start + k->size < end ? k->start + k->size : end;
        size_t take = stop - c->at < max_bytes ? (size_t)(stop - c->at) : max_bytes;
        v[n++] = (struct iovec){.iov_base = k->bytes + (c->at - k->start), .iov_len = take};
        c->at += take;
        max_bytes -= take;
    }
    return n;
}

void body_seek(const body_t *b, body_cursor_t *c, uint64_t to)
{
    if (to < c->at)
        c->chunk = NULL;
    c->at = to;
    if (to < body_length(b))
        body_chunk_at(b, c);
}

size_t body_trim(body_t *b, uint64_t consumed)
{
    size_t freed = 0;
    while (b->first != NULL && b->first != b->last && b->first->start + b->first->size < consumed) {
        struct body_chunk *c = b->first;
        b->first = c->next;
        freed += sizeof *c + c->size;
        free(c);
    }
    b->allocated -= freed;
    return freed;
}

size_t body_bytes(const body_t *b)
{
    return sizeof *b + 32 + b->allocated; /* 32: the allocator's share of the head and the usual one chunk */
}
