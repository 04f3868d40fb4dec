/* RFC 3629, against a decoder that knows only code points. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "edge/base/utf8.h"

/* Length of the sequence that encodes exactly one allowed code point in the shortest way. */
static size_t model(const unsigned char *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (want == 0 || want > n)
        return 0;
    uint32_t c = want == 1 ? p[0] : p[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[want] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : want;
}

Test(utf8, against_a_decoder)
{
    static const unsigned char others[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    enum { N = sizeof others };
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (size_t k = 0; k < N * N; k++) {
                unsigned char s[4] = {(unsigned char)a, (unsigned char)b, others[k / N], others[k % N]};
                for (size_t n = 1; n <= 4; n++)
                    cr_assert_eq(utf8_length((const char *)s, n), model(s, n), "%02x %02x %02x %02x, %zu bytes", s[0],
                                 s[1], s[2], s[3], n);
            }
}
