/* What is noted beside a segment comes back as it was, or not at all. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/warm/marks.h"

static char directory[64], path[128];

static void begin(void)
{
    snprintf(directory, sizeof directory, "/tmp/brink-marks-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/1.marks", directory);
}

static void end(void)
{
    unlink(path);
    cr_expect_eq(rmdir(directory), 0, "something is left over");
}
TestSuite(marks, .init = begin, .fini = end);

static uint32_t expected(uint64_t at)
{
    return (uint32_t)(at * 7 % 11 < 4 ? at * 7 % 11 : 0);
}

static marks_t make(uint64_t n)
{
    marks_t m = {.swept = 99};
    for (uint64_t at = n; at-- > 0;)
        marks_raise(&m, at, expected(at));
    return m;
}

Test(marks, only_grow)
{
    marks_t m = make(9000);
    for (uint64_t at = 0; at < 9000; at++) {
        cr_assert_eq(marks_of(&m, at), expected(at), "%llu", (unsigned long long)at);
        marks_raise(&m, at, 1);
        cr_assert_eq(marks_of(&m, at), expected(at) > 1 ? expected(at) : 1);
    }
    cr_assert_eq(marks_of(&m, 1000000), 0);
    marks_t copy;
    marks_copy(&copy, &m);
    marks_raise(&copy, 5, 3);
    cr_assert_eq(marks_of(&copy, 5), 3);
    cr_assert_neq(marks_of(&m, 5), 3);
    marks_release(&copy);
    marks_release(&m);
}

Test(marks, come_back)
{
    for (uint64_t n = 0; n < 10000; n += 3333) {
        marks_t m = make(n), back;
        cr_assert_eq(marks_store(path, 7, &m), ERR_OK);
        cr_assert_eq(marks_load(path, 7, &back), ERR_OK);
        cr_assert_eq(back.swept, 99);
        for (uint64_t at = 0; at < n + 10; at++)
            cr_assert_eq(marks_of(&back, at), at < n ? expected(at) : 0);
        marks_release(&back);
        cr_assert_eq(marks_load(path, 8, &back), ERR_CORRUPT, "another ledger's");
        cr_assert(back.swept == 0 && back.n == 0);
        marks_release(&m);
    }
}

Test(marks, damage_is_as_if_nothing_was_checked)
{
    marks_t m = make(5000), back;
    cr_assert_eq(marks_load(path, 7, &back), ERR_NOT_FOUND);
    cr_assert_eq(marks_store(path, 7, &m), ERR_OK);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += at < 48 ? 1 : 97) {
        char byte;
        int fd = open(path, O_RDWR);
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        cr_expect_eq(marks_load(path, 7, &back), ERR_CORRUPT, "byte %lld", (long long)at);
        cr_expect(back.swept == 0 && back.n == 0 && back.bits == NULL);
        byte ^= 4;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    cr_assert_eq(truncate(path, st.st_size - 1), 0);
    cr_expect_eq(marks_load(path, 7, &back), ERR_CORRUPT);
    marks_release(&m);
}

Test(marks, what_cannot_be_written_leaves_what_was)
{
    marks_t m = make(100), back;
    cr_assert_eq(marks_store(path, 7, &m), ERR_OK);
    char other[160];
    snprintf(other, sizeof other, "%s~", path);
    cr_assert_eq(mkdir(other, 0700), 0); /* in the way */
    m.swept = 100;
    cr_assert_eq(marks_store(path, 7, &m), ERR_IO);
    cr_assert_eq(marks_load(path, 7, &back), ERR_OK);
    cr_assert_eq(back.swept, 99);
    marks_release(&back);
    marks_release(&m);
    rmdir(other);
}
