/* A handler may only do what is safe in a signal: it jumps back into the guarded call, or writes a file whose name and
 * contents were prepared, and lets the fault happen again as it would have without us. */
#include "edge/warm/guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"

_Thread_local guard_t *guard_top;

enum { GUARD_PATH = 4096, GUARD_NUMBER = 17 };

static const int guard_signals[] = {SIGBUS, SIGSEGV, SIGABRT, SIGILL, SIGFPE};
enum { GUARD_SIGNALS = sizeof guard_signals / sizeof *guard_signals };
static struct sigaction guard_before[GUARD_SIGNALS];
static char guard_path[GUARD_PATH], guard_number[GUARD_NUMBER];
static volatile sig_atomic_t guard_marking;

static void guard_leave_mark(void)
{
    if (!guard_marking)
        return;
    guard_marking = 0;
    int fd = open(guard_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, guard_number, GUARD_NUMBER - 1) < 0)
        unlink(guard_path);
    if (fd >= 0)
        close(fd);
}

static void guard_on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    bool fault = info->si_code > 0; /* not sent by somebody */
    if (guard_top != NULL && fault && (number == SIGBUS || number == SIGSEGV))
        siglongjmp(guard_top->back, 1);
    guard_leave_mark();
    for (unsigned i = 0; i < GUARD_SIGNALS; i++)
        if (guard_signals[i] == number)
            sigaction(number, &guard_before[i], NULL);
    if (!fault)
        raise(number);
    /* else the instruction is repeated, and faults again */
}

static void guard_install_once(void)
{
    struct sigaction a = {.sa_sigaction = guard_on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&a.sa_mask);
    for (unsigned i = 0; i < GUARD_SIGNALS; i++)
        sigaction(guard_signals[i], &a, &guard_before[i]);
}

void guard_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_install_once);
}

void guard_assert(MDB_env *env, const char *what)
{
    (void)env;
    log_error("warm tier: LMDB found itself damaged: %s", what);
    if (guard_top != NULL)
        siglongjmp(guard_top->back, 1);
}

void guard_bury(MDB_env *env)
{
    typedef struct grave {
        struct grave *next;
        MDB_env *env;
    } grave_t;
    static grave_t *_Atomic graves; /* reachable for ever, on purpose */
    grave_t *g = mem_alloc(sizeof *g);
    *g = (grave_t){.next = graves, .env = env};
    graves = g;
}

void guard_mark(const char *directory, uint64_t segment)
{
    guard_marking = 0;
    if (directory == NULL)
        return;
    snprintf(guard_number, sizeof guard_number, "%016llx", (unsigned long long)segment);
    guard_marking = (size_t)snprintf(guard_path, sizeof guard_path, "%s/crashed", directory) < sizeof guard_path;
}

bool guard_take_mark(const char *directory, uint64_t *segment)
{
    char path[GUARD_PATH];
    unsigned long long number = 0;
    snprintf(path, sizeof path, "%s/crashed", directory);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool right = fscanf(f, "%16llx", &number) == 1;
    fclose(f);
    unlink(path);
    *segment = number;
    return right;
}
