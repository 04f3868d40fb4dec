/* Text from anywhere as JSON. */
#include "edge/admin/json.h"

#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/base/utf8.h"

json_t *admin_json_text(span_t s)
{
    if (s.p == NULL)
        return json_null();
    json_t *j = span_find(s, '\0') == s.n ? json_stringn(s.p, s.n) : NULL; /* many a reader of JSON stops at a NUL */
    if (j != NULL)
        return j;
    char *p = mem_alloc(s.n * 3 + 1); /* what is no UTF-8, or NUL, becomes U+FFFD */
    size_t n = 0;
    while (s.n > 0) {
        size_t good = utf8_length(s.p, s.n);
        if (good == 0 || s.p[0] == '\0') {
            memcpy(p + n, "\xef\xbf\xbd", 3);
            n += 3;
        } else {
            memcpy(p + n, s.p, good);
            n += good;
        }
        s = span_from(s, good > 0 ? good : 1);
    }
    j = json_stringn(p, n);
    free(p);
    return j;
}
