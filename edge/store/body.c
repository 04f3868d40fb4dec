/* A list of chunks. A body of known length is one chunk; otherwise chunks double from 16 KiB to 1 MiB, so that a small
 * answer wastes little and a large one has few pieces. The order of publication is: bytes, then the chunk's link, then
 * `length` (release); a reader that loads `length` (acquire) may follow links and bytes up to there without a lock. */
#include "edge/store/body.h"

#include <stdlib.h>

#include "edge/base/block.h"
#include "edge/base/check.h"
#include "edge/base/mem.h"

/* What a body has that isn't flat. */
typedef struct body_list {
    body_t head;
    int64_t declared;         /* whole length if known, else -1 */
    struct body_chunk *first; /* writer's (and body_trim's) */
    struct body_chunk *last;
    size_t allocated; /* bytes of chunks, with their heads: what the budget counts */
    size_t most;      /* bytes of the next chunk at most, where the length isn't known */
} body_list_t;

struct body_chunk {
    struct body_chunk *next;
    uint64_t start; /* offset of bytes[0] in the body */
    size_t used;    /* writer only */
    size_t size;
    char bytes[];
};

static void body_chunk_free(struct body_chunk *c)
{
    block_free(c, sizeof *c + c->size);
}

static body_list_t *body_list(const body_t *b)
{
    CHECK(!b->flat);
    return (body_list_t *)(void *)(uintptr_t)b;
}

body_t *body_new(int64_t declared)
{
    body_list_t *l = mem_zalloc(sizeof *l);
    atomic_init(&l->head.refs, 1);
    l->declared = declared;
    l->most = BODY_CHUNK_MOST;
    return &l->head;
}

void body_init_flat(body_t *b, uint32_t at, uint64_t n)
{
    *b = (body_t){.flat_at = at, .flat = true};
    atomic_init(&b->length, n);
    atomic_init(&b->state, BODY_COMPLETE);
}

body_t *body_ref(body_t *b)
{
    CHECK(!b->flat);
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void body_unref(body_t *b)
{
    if (b == NULL)
        return;
    body_list_t *l = body_list(b);
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    account_t *account = atomic_load_explicit(&b->account, memory_order_relaxed);
    if (account != NULL)
        account_release(account, body_bytes(b));
    while (l->first != NULL) {
        struct body_chunk *c = l->first;
        l->first = c->next;
        body_chunk_free(c);
    }
    free(l);
}

int64_t body_declared(const body_t *b)
{
    return body_state(b) == BODY_COMPLETE ? (int64_t)body_length(b) : body_list(b)->declared;
}

static size_t body_next_size(const body_list_t *l, size_t need)
{
    uint64_t length = atomic_load_explicit(&l->head.length, memory_order_relaxed);
    if (l->declared >= 0)
        return (size_t)((uint64_t)l->declared - length);
    size_t size = l->last == NULL ? BODY_CHUNK_FIRST : l->last->size * 2;
    if (size > l->most)
        size = l->most;
    return size < need ? need : size;
}

size_t body_would_grow(const body_t *b, size_t n)
{
    const body_list_t *l = body_list(b);
    size_t room = l->last != NULL ? l->last->size - l->last->used : 0;
    return n <= room ? 0 : sizeof(struct body_chunk) + body_next_size(l, n - room);
}

err_t body_append(body_t *b, span_t s, size_t *grown)
{
    uint64_t length = atomic_load_explicit(&b->length, memory_order_relaxed);
    body_list_t *l = body_list(b);
    size_t before = l->allocated, left = s.n;
    CHECK(body_state(b) == BODY_GROWING);
    if (l->declared >= 0 && s.n > (uint64_t)l->declared - length)
        return ERR_TOO_BIG;
    while (left > 0) {
        struct body_chunk *c = l->last;
        if (c == NULL || c->used == c->size) {
            size_t size = body_next_size(l, left);
            struct body_chunk *fresh = block_alloc(sizeof *fresh + size);
            *fresh = (struct body_chunk){.start = length, .size = size};
            if (c != NULL)
                c->next = fresh;
            else
                l->first = fresh;
            l->last = c = fresh;
            l->allocated += sizeof *fresh + size;
        }
        size_t n = c->size - c->used < left ? c->size - c->used : left;
        memcpy(c->bytes + c->used, s.p + (s.n - left), n);
        c->used += n;
        left -= n;
        length += n;
    }
    atomic_store_explicit(&b->length, length, memory_order_release);
    if (grown != NULL)
        *grown = l->allocated - before;
    return ERR_OK;
}

char *body_room(body_t *b, size_t n)
{
    body_list_t *l = body_list(b);
    CHECK(body_state(b) == BODY_GROWING && l->declared >= 0 &&
          n <= (uint64_t)l->declared - atomic_load_explicit(&b->length, memory_order_relaxed));
    if (l->last == NULL) {
        struct body_chunk *fresh = block_alloc(sizeof *fresh + (size_t)l->declared);
        *fresh = (struct body_chunk){.size = (size_t)l->declared};
        l->first = l->last = fresh;
        l->allocated += sizeof *fresh + fresh->size;
    }
    return l->last->bytes + l->last->used;
}

void body_grow(body_t *b, size_t n)
{
    body_list(b)->last->used += n;
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
    struct body_chunk *k = c->chunk != NULL && c->chunk->start <= c->at ? c->chunk : body_list(b)->first;
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
    if (b->flat && max_v > 0 && max_bytes > 0 && c->at < end) {
        size_t take = end - c->at < max_bytes ? (size_t)(end - c->at) : max_bytes;
        v[0] = (struct iovec){.iov_base = (char *)(uintptr_t)b + b->flat_at + c->at, .iov_len = take};
        c->at += take;
        return 1;
    }
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
    if (!b->flat && to < body_length(b))
        body_chunk_at(b, c);
}

void body_window(body_t *b)
{
    body_list(b)->most = BODY_CHUNK_WINDOW;
}

size_t body_trim(body_t *b, uint64_t consumed)
{
    if (b->flat)
        return 0;
    body_list_t *l = body_list(b);
    size_t freed = 0;
    while (l->first != NULL && l->first != l->last && l->first->start + l->first->size < consumed) {
        struct body_chunk *c = l->first;
        l->first = c->next;
        freed += sizeof *c + c->size;
        body_chunk_free(c);
    }
    l->allocated -= freed;
    return freed;
}

size_t body_bytes(const body_t *b)
{
    /* 32: the allocator's share of the head and the usual one chunk */
    return b->flat ? 0 : sizeof(body_list_t) + 32 + body_list(b)->allocated;
}
