/* Purges from several threads whose messages go with their answers: an answer may come, on the purge's own thread,
 * before purge_submit has returned, so from then on nothing of the message may be touched. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/policy/key.h"
#include "purge/purge.h"

enum { THREADS = 3, PURGES = 150 };

static purge_t *purges;
static atomic_int answered;

static err_t normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *digest)
{
    (void)ctx;
    return key_from_url(a, url, &(key_rules_t){.query = KEY_QUERY_ALL}, uri, digest);
}

/* The message, its spans and their bytes in one piece of memory. */
typedef struct submitted {
    message_t m;
    span_t tag;
    char text[32];
} submitted_t;

static void done(void *ctx, const purge_outcome_t *o)
{
    CHECK(o->err == ERR_OK && o->sequence > 0);
    memset(ctx, 0x55, sizeof(submitted_t));
    free(ctx);
    atomic_fetch_add(&answered, 1);
}

static void *run(void *arg)
{
    char bad[64];
    for (int i = 0; i < PURGES; i++) {
        submitted_t *s = calloc(1, sizeof *s);
        CHECK(s != NULL);
        int n = snprintf(s->text, sizeof s->text, "tag-%ld-%d", (long)(intptr_t)arg, i);
        s->tag = span_of(s->text, (size_t)n);
        s->m = (message_t){.tags = {&s->tag, 1}, .timeout = -1};
        CHECK(purge_submit(purges, &s->m, done, s, bad, sizeof bad) == ERR_OK);
        while (atomic_load(&answered) + 64 < i * THREADS) /* the waiting have a ceiling */
            usleep(100);
    }
    return NULL;
}

int main(void)
{
    char dir[] = "/tmp/brink-state-XXXXXX", err[256], command[64];
    CHECK(mkdtemp(dir) != NULL);
    purge_options_t o = {.node = "stress-1",
                         .version = "test",
                         .state = dir,
                         .stream = "brink:purge",
                         .keep = 3600 * 1000,
                         .wait_timeout = 3000,
                         .start_without_redis = 30000,
                         .max_disconnected = MSEC_NEVER,
                         .normalise = normalise};
    CHECK(purge_open(&o, &purges, err, sizeof err) == ERR_OK && purge_start(purges, false) == ERR_OK);
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 30000 && atomic_load(&answered) < THREADS * PURGES; i++)
        usleep(1000);
    CHECK(atomic_load(&answered) == THREADS * PURGES);
    purge_stop(purges);
    purge_free(purges);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK(system(command) == 0);
    printf("%d purges answered\n", THREADS * PURGES);
    return 0;
}
