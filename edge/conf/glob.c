/* A glob is a chain of literal bytes whose states may loop: state i is "i literals seen", a `*` before literal i lets
 * state i stay on any byte but a slash, a `**` on any byte. The set of states is a few machine words, advanced by one
 * shift a byte of the path (Baeza-Yates and Gonnet's Shift-And), so there is no backtracking and nothing for a hostile
 * path to make slow. The two shapes that nearly all rules have, "/exact" and "/prefix/" with two stars, never get that
 * far. */
#include "edge/conf/glob.h"

#include "edge/base/check.h"

enum { GLOB_WORDS = (GLOB_MAX_BYTES + 1) / 64 };

/* masks: [0] loop on any byte, [1] loop on any but '/', [2] skip (a state that, when entered, also enters the next),
 * then one a class. */
enum { MASK_ANY, MASK_SEGMENT, MASK_SKIP, MASK_CLASSES };

static int glob_hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool glob_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

/* What of RFC 3986 3.3 stands in a path as it is. */
static bool glob_path_byte(unsigned char c)
{
    return c != 0 && (glob_unreserved(c) || strchr("/!$&'()*+,;=:@%", c) != NULL);
}

/* Literals and stars in the normal form that paths have (RFC 3986 6.2.2): one entry a literal, with what loops before
 * it. */
typedef struct glob_parts {
    char literal[GLOB_MAX_BYTES + 1];
    uint8_t loop[GLOB_MAX_BYTES + 1]; /* 0, 1 = `*`, 2 = `**` */
    size_t n;
} glob_parts_t;

static err_t glob_literal(glob_parts_t *parts, char c)
{
    if (parts->n == GLOB_MAX_BYTES)
        return ERR_TOO_BIG;
    parts->literal[parts->n++] = c;
    return ERR_OK;
}

static err_t glob_encoded(glob_parts_t *parts, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    err_t e = glob_literal(parts, '%');
    if (e == ERR_OK)
        e = glob_literal(parts, digits[c >> 4]);
    return e == ERR_OK ? glob_literal(parts, digits[c & 15]) : e;
}

static err_t glob_scan(span_t s, glob_parts_t *parts, const char **why)
{
    err_t e = ERR_OK;
    for (size_t i = 0; i < s.n && e == ERR_OK; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '*') {
            size_t from = i;
            while (i + 1 < s.n && s.p[i + 1] == '*')
                i++;
            uint8_t loop = i > from ? 2 : 1;
            /* Two directories of stars in a row are one. */
            size_t n = parts->n;
            bool again =
                n >= 2 && parts->literal[n - 1] == '/' && parts->loop[n - 1] == 2 && parts->literal[n - 2] == '/';
            if (loop == 2 && again && i + 1 < s.n && s.p[i + 1] == '/') {
                i++;
                continue;
            }
            if (parts->loop[parts->n] < loop)
                parts->loop[parts->n] = loop;
        } else if (c == '%') {
            int hi = i + 2 < s.n ? glob_hex(s.p[i + 1]) : -1, lo = i + 2 < s.n ? glob_hex(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                *why = "a % in a path is followed by two hex digits; write %25 for a percent sign";
                return ERR_SYNTAX;
            }
            unsigned char byte = (unsigned char)(hi * 16 + lo);
            e = glob_unreserved(byte) ? glob_literal(parts, (char)byte) : glob_encoded(parts, byte);
            i += 2;
        } else if (c == '?' || c == '#') {
            *why = "the path ends before the query; what of the query counts is set by key.query";
            return ERR_SYNTAX;
        } else {
            e = glob_path_byte(c) ? glob_literal(parts, (char)c) : glob_encoded(parts, c);
        }
    }
    if (e == ERR_TOO_BIG)
        *why = "a path glob has at most 255 bytes beside its stars";
    return e;
}

/* Segments "." and ".." are taken out of a path before rules are asked, so a rule that has one would never match. */
static bool glob_has_dots(const glob_parts_t *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        size_t end = i + 1;
        bool stars = false;
        if (parts->literal[i] != '/')
            continue;
        while (end < parts->n && parts->literal[end] != '/')
            stars |= parts->loop[end++] != 0;
        span_t segment = span_of(parts->literal + i + 1, end - i - 1);
        if (!stars && parts->loop[end] == 0 && (span_eq(segment, SPAN(".")) || span_eq(segment, SPAN(".."))))
            return true;
    }
    return false;
}

err_t glob_compile(arena_t *a, span_t text, glob_t *out, const char **why)
{
    glob_parts_t parts = {.n = 0};
    *out = (glob_t){.text = SPAN_NONE};
    *why = NULL;
    if (!span_starts(text, SPAN("/")) && !span_starts(text, SPAN("**"))) {
        *why = "a path begins with /, for example /static/**, or /**/*.jpg for a name anywhere";
        return ERR_SYNTAX;
    }
    err_t e = glob_scan(text, &parts, why);
    if (e != ERR_OK)
        return e;
    if (glob_has_dots(&parts)) {
        *why = "dot segments are taken out of a path before rules are asked: write the path without them";
        return ERR_SYNTAX;
    }

    glob_t g = {.length = (uint16_t)parts.n, .words = (uint8_t)(parts.n / 64 + 1)};
    size_t prefix = 0;
    while (prefix < parts.n && parts.loop[prefix] == 0)
        prefix++;
    g.exact = prefix == parts.n && parts.loop[parts.n] == 0;
    g.tail = prefix == parts.n && parts.loop[parts.n] == 2;
    for (size_t i = 0; i < parts.n; i++)
        if (g.class_of[(unsigned char)parts.literal[i]] == 0)
            g.class_of[(unsigned char)parts.literal[i]] = (uint8_t)++g.classes;
    g.text = arena_copy(a, text);
    g.prefix = arena_copy(a, span_of(parts.literal, prefix));
    uint64_t *masks = arena_zalloc(a, (MASK_CLASSES + g.classes) * (size_t)g.words * sizeof *masks);
    if (g.text.p == NULL || g.prefix.p == NULL || masks == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i <= parts.n; i++) {
        size_t word = i / 64;
        uint64_t bit = 1ULL << (i % 64);
        if (parts.loop[i] != 0)
            masks[(size_t)(parts.loop[i] == 2 ? MASK_ANY : MASK_SEGMENT) * g.words + word] |= bit;
        /* A directory of two stars may be no directory: after the slash before it, the slash behind it need not come.
         */
        if (i < parts.n && parts.loop[i] == 2 && parts.literal[i] == '/' && i > 0 && parts.literal[i - 1] == '/')
            masks[(size_t)MASK_SKIP * g.words + word] |= bit;
        if (i > 0) /* reading literal i - 1 leads into state i */
            masks[(MASK_CLASSES + (size_t)g.class_of[(unsigned char)parts.literal[i - 1]] - 1) * g.words + word] |= bit;
    }
    g.masks = masks;
    *out = g;
    return ERR_OK;
}

bool glob_covers(const glob_t *g, const glob_t *other)
{
    return span_eq(g->text, other->text) || (g->tail && span_starts(other->prefix, g->prefix));
}

bool glob_match(const glob_t *g, span_t path)
{
    if (g->text.p == NULL || !span_starts(path, g->prefix))
        return false;
    if (g->tail || g->exact)
        return g->tail || path.n == g->prefix.n;
    const size_t words = g->words;
    CHECK(words <= GLOB_WORDS && g->masks != NULL);
    const uint64_t *any = g->masks + MASK_ANY * words, *segment = g->masks + MASK_SEGMENT * words,
                   *skip = g->masks + MASK_SKIP * words;
    uint64_t states[GLOB_WORDS] = {0};
    states[g->prefix.n / 64] = 1ULL << (g->prefix.n % 64);
    /* The prefix ended by entering that state. */
    if (skip[g->prefix.n / 64] & states[g->prefix.n / 64])
        states[(g->prefix.n + 1) / 64] |= 1ULL << ((g->prefix.n + 1) % 64);
    for (size_t i = g->prefix.n; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        const uint64_t *class = g->class_of[c] != 0 ? g->masks + (MASK_CLASSES + g->class_of[c] - 1U) * words : NULL;
        uint64_t stay = c != '/' ? ~0ULL : 0, carry = 0, carry_skip = 0, alive = 0;
        for (size_t w = 0; w < words; w++) {
            uint64_t now = states[w];
            uint64_t entered = class != NULL ? (now << 1 | carry) & class[w] : 0;
            carry = now >> 63;
            uint64_t skipping = entered & skip[w];
            states[w] = entered | skipping << 1 | carry_skip | (now & any[w]) | (now & segment[w] & stay);
            carry_skip = skipping >> 63;
            alive |= states[w];
        }
        if (alive == 0)
            return false;
    }
    return (states[g->length / 64] >> (g->length % 64) & 1) != 0;
}
