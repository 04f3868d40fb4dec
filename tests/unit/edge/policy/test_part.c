/* Parts of representations: what makes one, what it answers, what it lacks (RFC 9111 3.3, 3.4; RFC 9110 14.4). */
#include "edge/policy/part.h"
#include "tests/unit/edge/policy/policy_test.h"

Test(part, what_makes_one)
{
    static const struct {
        const char *why, *response;
        int status;
        int64_t length, first, whole; /* first -1: it can't be kept */
        bool alone;
    } rows[] = {
        {"14.4", "content-range: bytes 4-9/10\n", 206, 6, 4, 10, false},
        {"all of it", "content-range: bytes 0-9/10\n", 206, 10, 0, 10, false},
        {"length unknown", "content-range: bytes 4-9/*\n", 206, 6, -1, 0, false},
        {"no length of the message", "content-range: bytes 4-9/10\n", 206, -1, -1, 0, false},
        {"nothing", "content-range: bytes 4-9/10\n", 206, 0, -1, 0, false},
        {"no Content-Range: several ranges, or a mistake", "", 206, 6, -1, 0, false},
        {"two of them", "content-range: bytes 4-9/10\ncontent-range: bytes 4-9/10\n", 206, 6, -1, 0, false},
        {"14.4 last < first", "content-range: bytes 9-4/10\n", 206, 6, -1, 0, false},
        {"14.4 length <= last", "content-range: bytes 4-10/10\n", 206, 7, -1, 0, false},
        {"another unit", "content-range: lines 4-9/10\n", 206, 6, -1, 0, false},
        {"more than it says", "content-range: bytes 4-8/10\n", 206, 6, -1, 0, false},
        {"less than it says, in the middle", "content-range: bytes 4-8/10\n", 206, 4, -1, 0, false},
        {"less than it says, at the end: that is the end", "content-range: bytes 4-9/10\n", 206, 5, 4, 9, true},
        {"only a 206", "content-range: bytes 4-9/10\n", 200, 6, -1, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, rows[i].response);
        stored_t meta = {.status = rows[i].status, .content_length = 77};
        bool is = part_describe(&meta, &f, rows[i].length);
        cr_expect_eq(is, rows[i].first >= 0, "%s", rows[i].why);
        cr_expect_eq((meta.flags & STORED_PART) != 0, is, "%s", rows[i].why);
        if (is) {
            cr_expect_eq(meta.part_first, rows[i].first, "%s", rows[i].why);
            cr_expect_eq(meta.content_length, rows[i].whole, "%s", rows[i].why);
            cr_expect_eq((meta.flags & STORED_PART_ALONE) != 0, rows[i].alone, "%s", rows[i].why);
        }
        arena_release(&a);
    }
}

static stored_t part_of(int64_t first, int64_t whole)
{
    return (stored_t){.status = 206,
                      .flags = STORED_PART,
                      .part_first = first,
                      .content_length = whole,
                      .last_modified = -1,
                      .date = -1};
}

Test(part, answers_what_it_holds)
{
    static const struct {
        const char *request;
        size_t n; /* 0: not answered */
        uint64_t first, last;
    } rows[] = {
        {"range: bytes=4-9\n", 1, 4, 9},
        {"range: bytes=5-7\n", 1, 5, 7},
        {"range: bytes=4-4\n", 1, 4, 4},
        {"range: bytes=9-9\n", 1, 9, 9},
        {"range: bytes=3-9\n", 0, 0, 0},
        {"range: bytes=4-10\n", 0, 0, 0},
        {"range: bytes=4-\n", 0, 0, 0},
        {"range: bytes=-1\n", 0, 0, 0},
        {"range: bytes=4-5, 8-9\n", 2, 4, 5},
        {"range: bytes=4-5, 0-1\n", 0, 0, 0},
        {"range: bytes=50-60\n", 0, 0, 0},
        {"range: lines=4-9\n", 0, 0, 0},
        {"", 0, 0, 0},
        {"range: bytes=4-9\nif-range: \"v1\"\n", 1, 4, 9},
        {"range: bytes=4-9\nif-range: \"v2\"\n", 0, 0, 0},
    };
    stored_t meta = part_of(4, 20);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, rows[i].request);
        range_t ranges[RANGE_MAX];
        size_t n = 0;
        bool does = part_answers(&meta, SPAN("\"v1\""), 6, &f, &a, ranges, &n);
        cr_expect_eq(does, rows[i].n > 0, "%s", rows[i].request);
        if (does) {
            cr_expect_eq(n, rows[i].n);
            cr_expect(ranges[0].first == rows[i].first && ranges[0].last == rows[i].last, "%s", rows[i].request);
        }
        arena_release(&a);
    }
    arena_t a;
    arena_init(&a, 0);
    range_t ranges[RANGE_MAX];
    size_t n;
    fields_t suffix = head(&a, "range: bytes=-3\n"), open = head(&a, "range: bytes=15-\n");
    meta = part_of(14, 20);
    cr_expect(part_answers(&meta, SPAN_NONE, 6, &suffix, &a, ranges, &n) && ranges[0].first == 17);
    cr_expect(part_answers(&meta, SPAN_NONE, 6, &open, &a, ranges, &n) && ranges[0].last == 19);
    arena_release(&a);
}

Test(part, lacks_one_range_or_more)
{
    range_t r;
    stored_t beginning = part_of(0, 10), end = part_of(4, 10), alone = part_of(0, 10);
    alone.flags |= STORED_PART_ALONE;
    cr_expect(part_lacks(&beginning, 4, &r) && r.first == 4 && r.last == 9);
    cr_expect(part_lacks(&end, 6, &r) && r.first == 0 && r.last == 3);
    cr_expect(!part_lacks(&end, 5, &r), "both sides");
    cr_expect(!part_lacks(&beginning, 0, &r), "nothing is there");
    cr_expect(!part_lacks(&beginning, 10, &r), "nothing is missing");
    cr_expect(!part_lacks(&alone, 4, &r));
    stored_t other = part_of(0, 11);
    cr_expect(part_fits(&beginning, &end) && !part_fits(&beginning, &other) && !part_fits(&alone, &end) &&
              !part_fits(&end, &alone));
    cr_expect_neq(part_variant(0, &beginning), part_variant(0, &end));
    cr_expect_neq(part_variant(0, &end), part_variant(1, &end));
    cr_expect_eq(part_variant(3, &beginning), part_variant(3, &other));
}

Test(part, far_from_the_beginning)
{
    static const struct {
        const char *request;
        bool far;
    } rows[] = {
        {"", false},
        {"range: bytes=0-\n", false},
        {"range: bytes=1000-\n", false},
        {"range: bytes=1048575-\n", false},
        {"range: bytes=1048576-\n", true},
        {"range: bytes=99999999999-99999999999\n", true},
        {"range: bytes=-5\n", true},
        {"range: bytes=-0\n", false},
        {"range: bytes=2000000-3000000, 4000000-\n", false},
        {"range: bytes=junk\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, rows[i].request);
        cr_expect_eq(part_far(&f, &a), rows[i].far, "%s", rows[i].request);
        arena_release(&a);
    }
}
