/* Threads that route, wait for places, fail, recover, reload and check nonces all at once. What must hold: every nonce
 * is accepted exactly once, whoever waits is told or gets away, no server stays counted in flight or has more under way
 * than it may, an ejected server comes back, and nothing is freed while it is used (the sanitizers tell). */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edge/base/check.h"
#include "shield/replay.h"
#include "shield/upstreams.h"

enum { THREADS = 4, ROUNDS = 20000, RELOADS = 200 };

static const char *const texts[] = {
    "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://a', 'http://b', 'http://c'] }]\nupstream: { "
    "max_in_flight: 1, "
    "max_queue: 2 }\n",
    "listen: [{ address: '127.0.0.1:1' }]\nsites: [{ origins: ['http://b', 'http://d'] }]\nupstream: { retries: 2, "
    "max_in_flight: 1 }\n",
};

static health_t *health;
static replay_t *replay;
static pthread_mutex_t swap = PTHREAD_MUTEX_INITIALIZER; /* guards current, as a worker's inbox does */
static upstreams_t *current;
static atomic_size_t accepted, went;
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

typedef struct waiting {
    health_waiter_t w;
    sem_t told;
} waiting_t;

static void told(health_waiter_t *w)
{
    sem_post(&CONTAINER_OF(w, waiting_t, w)->told);
}

/* Waits a while for the place; true: it is ours. */
static bool patient(waiting_t *w, health_server_t *s, unsigned *seed)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += rand_r(seed) % 50000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    if (sem_timedwait(&w->told, &until) != 0) {
        if (health_leave(s, &w->w))
            return false;
        sem_wait(&w->told); /* it has just been handed to us */
    }
    return w->w.granted;
}

static void one_request(uint64_t i, unsigned *seed)
{
    upstreams_t *u = take();
    const conf_site_t *site = conf_site_for(upstreams_conf(u), SPAN("www.example.com"));
    route_t route = {.idempotent = true, .optional = rand_r(seed) % 4 == 0};
    waiting_t w = {.w = {.run = told}};
    sem_init(&w.told, 0, 0);
    msec_t boot = (msec_t)i;
    for (;;) {
        upstreams_want_t want = {.site = site, .key = {i, i}, .waiter = &w.w};
        upstreams_target_t t = upstreams_next(u, &want, &route, boot);
        if (t.verdict == UPSTREAMS_QUEUED && !patient(&w, t.health, seed))
            break;
        if (t.verdict != UPSTREAMS_GO && t.verdict != UPSTREAMS_QUEUED)
            break;
        atomic_fetch_add(&went, 1);
        CHECK(health_in_flight(t.health) <= THREADS);
        bool fails = rand_r(seed) % 3 == 0;
        health_end(t.health, fails ? HEALTH_FAILED : rand_r(seed) % 5 == 0 ? HEALTH_UNKNOWN : HEALTH_OK, 0, boot);
        if (!fails)
            break;
        route_failed(&route, ROUTE_SENT);
    }
    if (i % 64 == 0)
        upstreams_sweep(u, boot);
    sem_destroy(&w.told);
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
        if (replay_seen(replay, &t, (now_t){1000, 1000}) == ERR_OK)
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
    replay = replay_new((now_t){0}, TIER_WINDOW, 1 << 20);
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
        health_ask_t ask = {.limit = 8};
        msec_t later = ROUNDS + HEALTH_BACKOFF_MOST * 2;
        CHECK(health_enter(s, &ask, later) == HEALTH_GO);
        health_end(s, HEALTH_OK, 0, later);
        CHECK(health_enter(s, &ask, later) == HEALTH_GO && health_enter(s, &ask, later) == HEALTH_GO);
        health_end(s, HEALTH_OK, 0, later);
        health_end(s, HEALTH_OK, 0, later);
    }
    upstreams_unref(current);
    health_free(health);
    replay_free(replay);
    printf("%d requests, %zu of them sent, %d nonces accepted once\n", THREADS * ROUNDS, atomic_load(&went), ROUNDS);
    return 0;
}
