/* A segment's file of marks from a damaged disk. The first byte: 1 = the checksum is made right, so that what lies
 * behind it is reached. What is accepted can be asked for every record. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/warm/marks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MARKS_HEAD = 40, MARKS_EPOCH = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    marks_t m, copy;
    if (fd < 0)
        fd = memfd_create("marks", MFD_CLOEXEC);
    if (size < 1 || size > 100000)
        return 0;
    size_t n = size - 1;
    char *bytes = mem_alloc(n + 1);
    memcpy(bytes, data + 1, n);
    if ((data[0] & 1) != 0 && n >= MARKS_HEAD) {
        uint64_t sum = XXH3_64bits(bytes + 8, MARKS_HEAD - 8);
        if (n > MARKS_HEAD)
            sum = XXH3_64bits_withSeed(bytes + MARKS_HEAD, n - MARKS_HEAD, sum);
        memcpy(bytes, &sum, sizeof sum);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
    free(bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    err_t e = marks_load(path, MARKS_EPOCH, &m);
    CHECK(e == ERR_OK || e == ERR_CORRUPT);
    CHECK(e == ERR_OK || (m.n == 0 && m.bits == NULL && m.swept == 0));
    for (uint64_t at = 0; at <= m.n; at++)
        CHECK(marks_of(&m, at) <= 3 && (at < m.n || marks_of(&m, at) == 0));
    marks_copy(&copy, &m);
    uint64_t at = m.n + size; /* behind what was there */
    marks_raise(&copy, at, 2);
    CHECK(marks_of(&copy, at) == 2 && marks_of(&m, at) == 0);
    for (uint64_t k = 0; k < m.n; k += 97)
        CHECK(marks_of(&copy, k) == marks_of(&m, k));
    marks_release(&copy);
    marks_release(&m);
    return 0;
}
