/* Threads that route, fail, recover, reload and check nonces all at once. What must hold: every nonce is accepted
 * exactly once, no server stays counted in flight, an ejected server comes back, and nothing is freed while it is used
 * (the sanitizers tell). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "shield/replay.h"
#include "shield/upstreams.h"

enum { THREADS = 4, ROUNDS = 20000, RELOADS = 200 };

static const char *const texts[] = {
    "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://a', 'http://b', 'http://c'] }]\n",
    "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://b', 'http://d'] }]\nupstream: { retries: 2 }\n",
};

static health_t *health;
static replay_t *replay;
static pthread_mutex_t swap = PTHREAD_MUTEX_INITIALIZER; /* guards current, as a worker's inbox does */
static upstreams_t *current;
static atomic_size_t accepted;
static atomic_bool done;

static upstreams_t *load(size_t i)
{
    conf_t *c;
    conf_error_t err;
    CHECK(conf_parse(span_str(texts[i % 2]), "stress", &c, &err) == ERR_OK);
    upstreams_t *u = upstreams_new(health, c);
    conf_unref(c);
    return u;
}

static upstreams_t *take(void)
{
    pthread_mutex_lock(&swap);
    upstreams_t *u = upstreams_ref(current);
    pthread_mutex_unlock(&swap);
    return u;
}

static void one_request(uint64_t i, unsigned *seed)
{
    upstreams_t *u = take();
    const conf_site_t *site = conf_site_for(upstreams_conf(u), SPAN("www.example.com"));
    route_t route = {.idempotent = true};
    msec_t boot = (msec_t)i;
    for (;;) {
        upstreams_target_t t = upstreams_next(u, site, (digest_t){i, i}, &route, boot);
        if (t.kind == ROUTE_NONE)
            break;
        health_begin(t.health);
        bool fails = rand_r(seed) % 3 == 0;
        health_end(t.health, fails ? HEALTH_FAILED : rand_r(seed) % 5 == 0 ? HEALTH_UNKNOWN : HEALTH_OK, boot);
        if (!fails)
            break;
        route_failed(&route, ROUTE_SENT);
    }
    upstreams_unref(u);
}

static void *run(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        one_request(i, &seed);
        /* All threads offer the same nonces. */
        tier_t t = {.sent = 1000};
        memcpy(t.nonce, &i, sizeof i);
        if (replay_seen(replay, &t, 1000) == ERR_OK)
            atomic_fetch_add(&accepted, 1);
    }
    return NULL;
}

static void *reload(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < RELOADS || !atomic_load(&done); i++) {
        upstreams_t *fresh = load(i);
        pthread_mutex_lock(&swap);
        upstreams_t *old = current;
        current = fresh;
        pthread_mutex_unlock(&swap);
        upstreams_unref(old);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS], reloader;
    health = health_new();
    replay = replay_new(0, TIER_WINDOW, 1 << 20);
    current = load(0);
    CHECK(pthread_create(&reloader, NULL, reload, NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&done, true);
    pthread_join(reloader, NULL);
    CHECK(atomic_load(&accepted) == ROUNDS);
    CHECK(replay_count(replay) == ROUNDS);
    health_view_t *v = upstreams_health(current);
    for (size_t i = 0; i < health_count(v); i++) {
        health_server_t *s = health_at(v, i);
        CHECK(health_in_flight(s) == 0);
        CHECK(health_admit(s, ROUNDS + HEALTH_BACKOFF_MOST * 2));
        health_begin(s);
        health_end(s, HEALTH_OK, ROUNDS);
        CHECK(health_admit(s, 0) && health_admit(s, 0));
    }
    upstreams_unref(current);
    health_free(health);
    replay_free(replay);
    printf("%d requests, %d nonces accepted once\n", THREADS * ROUNDS, ROUNDS);
    return 0;
}
