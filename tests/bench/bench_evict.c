/* Object and byte miss ratios of every eviction policy over a trace ("timestamp key size" a line on standard input, or
 * a synthetic Zipf trace without one), at the budgets given as arguments. `overhead` bytes are added to each object, as
 * the store does; 0 compares with simulators that count none.
 *
 *     bench_evict OVERHEAD BUDGET... < trace */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "edge/base/mem.h"
#include "edge/store/evict.h"

typedef struct request {
    uint32_t key;
    size_t size;
} request_t;

static request_t *requests;
static size_t requests_n, keys_n;

static uint64_t bench_mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static void bench_add(uint32_t key, size_t size)
{
    static size_t cap;
    if (requests_n == cap)
        requests = mem_realloc(requests, (cap = cap == 0 ? 1024 : cap * 2) * sizeof *requests);
    requests[requests_n++] = (request_t){key, size};
    if (key >= keys_n)
        keys_n = (size_t)key + 1;
}

/* Keys are numbered in order of appearance. */
static void bench_read(FILE *f)
{
    size_t n = 1 << 22;
    uint64_t *names = mem_zalloc(n * sizeof *names);
    uint32_t *numbers = mem_zalloc(n * sizeof *numbers), next = 0;
    char line[512], name[400];
    unsigned long long size;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%*s %399s %llu", name, &size) != 2)
            continue;
        uint64_t h = 14695981039346656037u;
        for (const char *p = name; *p != 0; p++)
            h = (h ^ (unsigned char)*p) * 1099511628211u;
        size_t at = bench_mix(h) & (n - 1);
        while (names[at] != 0 && names[at] != h)
            at = (at + 1) & (n - 1);
        if (names[at] == 0) {
            names[at] = h;
            numbers[at] = next++;
        }
        bench_add(numbers[at], (size_t)size);
    }
    free(names);
    free(numbers);
}

static void bench_zipf(void)
{
    enum { KEYS = 20000, REQUESTS = 500000 };
    static double sum[KEYS];
    double total = 0;
    for (int k = 0; k < KEYS; k++)
        sum[k] = total += 1.0 / (k + 1);
    for (uint64_t i = 0; i < REQUESTS; i++) {
        double at = (double)(bench_mix(i + 1) >> 11) / 9007199254740992.0 * total;
        size_t low = 0, high = KEYS - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (sum[middle] < at)
                low = middle + 1;
            else
                high = middle;
        }
        bench_add((uint32_t)low, 200 + bench_mix(low) % 1000 * (bench_mix(low * 3) % 100));
    }
}

static void bench_run(const evict_policy_t *policy, uint64_t budget, size_t overhead)
{
    evict_item_t *items = mem_zalloc(keys_n * sizeof *items);
    bool *in = mem_zalloc(keys_n);
    void *self = policy->create(budget);
    uint64_t used = 0, missed = 0, missed_bytes = 0, bytes = 0;
    clock_t began = clock();
    for (size_t i = 0; i < requests_n; i++) {
        uint32_t k = requests[i].key;
        size_t size = requests[i].size + overhead;
        bytes += requests[i].size;
        if (in[k]) {
            evict_touch(&items[k]);
            if (policy->hit != NULL)
                policy->hit(self, &items[k]);
            continue;
        }
        missed++;
        missed_bytes += requests[i].size;
        if (size > budget)
            continue;
        while (used + size > budget) {
            evict_item_t *gone = policy->victim(self);
            in[gone - items] = false;
            used -= evict_size(gone);
        }
        evict_item_init(&items[k], bench_mix((uint64_t)k + 1), size);
        policy->insert(self, &items[k]);
        in[k] = true;
        used += evict_size(&items[k]);
    }
    double ns = (double)(clock() - began) * 1e9 / CLOCKS_PER_SEC / (double)requests_n;
    printf("%-9s %12llu  objects %.3f  bytes %.3f  %4.0f ns\n", policy->name, (unsigned long long)budget,
           (double)missed / (double)requests_n, (double)missed_bytes / (double)bytes, ns);
    for (size_t k = 0; k < keys_n; k++)
        if (in[k])
            policy->remove(self, &items[k]);
    policy->destroy(self);
    free(items);
    free(in);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"lru", "sieve", "s3fifo", "wtinylfu", "gdsf", "hindsight"};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_evict OVERHEAD BUDGET... < trace\n");
        return 2;
    }
    if (isatty(0))
        bench_zipf();
    else
        bench_read(stdin);
    printf("%zu requests, %zu keys\n", requests_n, keys_n);
    for (int a = 2; a < argc; a++)
        for (size_t p = 0; p < sizeof names / sizeof *names; p++)
            bench_run(evict_by_name(names[p]), strtoull(argv[a], NULL, 10), strtoul(argv[1], NULL, 10));
    free(requests);
    return 0;
}
