/* Bytes from a server that may be anything: read as hiredis reads them, then as the purge log is. */
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "edge/base/check.h"
#include "purge/redis_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const redisReply *r, int depth)
{
    stream_entry_t e;
    stream_info_t i;
    stream_id_t id, again;
    char text[STREAM_ID_TEXT];
    if (redis_reply_entry(r, &e) == ERR_OK)
        CHECK(e.purge.n == 0 || e.purge.p != NULL);
    (void)redis_reply_stream_info(r, &i);
    if (redis_reply_id(redis_reply_text(r), &id) == ERR_OK) {
        CHECK(redis_reply_id(span_str(redis_reply_id_text(id, text)), &again) == ERR_OK);
        CHECK(stream_id_cmp(id, again) == 0);
    }
    (void)redis_reply_is_error(r, "ERR");
    span_t v = redis_reply_info(redis_reply_text(r), SPAN("run_id"));
    CHECK(v.n == 0 || memchr(v.p, '\n', v.n) == NULL);
    if (r != NULL && r->type == REDIS_REPLY_ARRAY && depth < 8)
        for (size_t k = 0; k < r->elements; k++)
            look_at(r->element[k], depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* hiredis 0.14 allocates what an array's header announces; lengths of more than 5 digits are left out here */
    for (size_t i = 0; i < size; i++) {
        size_t n = 0;
        while (data[i] == '*' && i + 1 + n < size && data[i + 1 + n] != '\n')
            n++;
        if (n > 6)
            return 0;
    }
    redisReader *reader = redisReaderCreate();
    void *r = NULL;
    redisReaderFeed(reader, (const char *)data, size);
    while (redisReaderGetReply(reader, &r) == REDIS_OK && r != NULL) {
        look_at(r, 0);
        freeReplyObject(r);
        r = NULL;
    }
    redisReaderFree(reader);
    return 0;
}
