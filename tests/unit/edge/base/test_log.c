/* One line a message, whatever is in it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/log.h"

/* What `run` writes to stderr. */
static const char *written(void (*run)(void))
{
    static char text[16384];
    int ends[2], saved = dup(STDERR_FILENO);
    cr_assert_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    run();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void say_hello(void)
{
    log_warn("hello %d", 7);
}
static void say_forged(void)
{
    log_error("name \"%s\"", "x\n2026-01-01 error forged\r\x1b[31m");
}
static void say_much(void)
{
    char much[5000];
    memset(much, 'x', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    log_error("%s", much);
}
static void say_at_all_levels(void)
{
    log_error("E");
    log_warn("W");
    log_info("I");
    log_debug("D");
}

Test(log, line)
{
    const char *line = written(say_hello);
    int year, month, day, hour, minute, second, milli, end = 0;
    cr_assert_eq(sscanf(line, "%d-%d-%dT%d:%d:%d.%dZ warning hello 7\n%n", &year, &month, &day, &hour, &minute, &second,
                        &milli, &end),
                 7, "%s", line);
    cr_expect_eq(end, (int)strlen(line));
}

Test(log, a_peer_cannot_forge_lines)
{
    const char *line = written(say_forged);
    cr_expect_eq(strchr(line, '\n'), line + strlen(line) - 1);
    cr_expect_null(strpbrk(line, "\r\x1b"));
}

Test(log, a_long_message_is_cut_but_still_a_line)
{
    const char *line = written(say_much);
    cr_expect_eq(strlen(line), 2047);
    cr_expect_eq(line[strlen(line) - 1], '\n');
}

Test(log, levels)
{
    cr_expect_null(strstr(written(say_at_all_levels), " debug D"));
    cr_expect_not_null(strstr(written(say_at_all_levels), " info I"));
    log_set_level(LOG_LEVEL_ERROR);
    const char *text = written(say_at_all_levels);
    cr_expect_not_null(strstr(text, " error E"));
    cr_expect_null(strstr(text, "warning"));
    log_set_level(LOG_LEVEL_DEBUG);
    cr_expect_not_null(strstr(written(say_at_all_levels), " debug D"));
}
