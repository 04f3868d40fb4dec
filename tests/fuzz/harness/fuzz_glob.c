/* A glob and a path, divided by a line feed: the matcher says the same as a table that is filled by the definition. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/conf/glob.h"

enum { MOST_PATTERN = 48, MOST_PATH = 64 };

/* Does pattern[i..] match path[j..]? Filled from the ends. */
static bool table_match(span_t p, span_t s)
{
    static bool can[MOST_PATTERN + 1][MOST_PATH + 1];
    for (size_t i = p.n + 1; i-- > 0;)
        for (size_t j = s.n + 1; j-- > 0;) {
            bool *here = &can[i][j];
            size_t after = i;
            while (after < p.n && p.p[after] == '*')
                after++;
            if (i == p.n)
                *here = j == s.n;
            else if (after == i)
                *here = j < s.n && p.p[i] == s.p[j] && can[i + 1][j + 1];
            else if (after == i + 1 && (i == 0 || p.p[i - 1] != '*'))
                *here = can[after][j] || (j < s.n && s.p[j] != '/' && can[i][j + 1]);
            else {
                bool none = i > 0 && p.p[i - 1] == '/' && after < p.n && p.p[after] == '/';
                /* Entered from the left, a directory of stars may be none; once it has begun it ends in its slash. */
                bool loop = can[after][j];
                for (size_t k = j; k < s.n && !loop; k++)
                    loop = can[after][k + 1];
                *here = loop || (none && can[after + 1][j]);
            }
        }
    return can[0][0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    span_t all = span_of((const char *)data, size);
    size_t line = span_find(all, '\n');
    span_t pattern = span_upto(all, line), path = span_from(all, line + 1);
    arena_t a;
    glob_t g;
    const char *why = NULL;
    arena_init(&a, 0);
    err_t e = glob_compile(&a, pattern, &g, &why);
    CHECK((e == ERR_OK) == (why == NULL));
    if (e == ERR_OK) {
        bool matched = glob_match(&g, path), plain = pattern.n <= MOST_PATTERN && path.n <= MOST_PATH;
        for (size_t i = 0; i < pattern.n && plain; i++)
            plain = (pattern.p[i] >= 'a' && pattern.p[i] <= 'z') || pattern.p[i] == '/' || pattern.p[i] == '*' ||
                    pattern.p[i] == '.';
        if (plain)
            CHECK(matched == table_match(pattern, path));
    } else {
        CHECK(!glob_match(&g, path));
    }
    arena_release(&a);
    return 0;
}
