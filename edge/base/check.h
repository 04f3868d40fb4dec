/* A broken invariant stops the program in every build: wrong bytes served are worse than a restart. Never for input. */
#ifndef BRINK_BASE_CHECK_H
#define BRINK_BASE_CHECK_H

_Noreturn void check_failed(const char *what, const char *file, int line);

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (__builtin_expect(!(cond), 0))                                                                              \
            check_failed(#cond, __FILE__, __LINE__);                                                                   \
    } while (0)

/* The structure that `member` of type `type` points into. */
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
