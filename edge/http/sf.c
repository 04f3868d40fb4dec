/* The parsing algorithms of RFC 9651 4.2, one function each, over a cursor. A failed step leaves the caller's iterator
 * where it was, so asking again gives the same error. Inner lists and parameters are walked once to be checked and
 * again only by whoever wants them; nothing is built, so a hostile field costs its length and no memory. */
#include "edge/http/sf.h"

#include "edge/base/utf8.h"
#include "edge/http/chars.h"

enum { INTEGER_DIGITS = 15, DECIMAL_DIGITS = 12, FRACTION_DIGITS = 3 };

typedef struct cursor {
    const char *p, *end;
} cursor_t;

static bool at(const cursor_t *c, char want)
{
    return c->p < c->end && *c->p == want;
}

static bool take(cursor_t *c, char want)
{
    if (!at(c, want))
        return false;
    c->p++;
    return true;
}

static bool at_class(const cursor_t *c, unsigned classes)
{
    return c->p < c->end && chars_is(*c->p, classes);
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alpha(char c)
{
    return is_lower(span_lower(c));
}

static void skip_sp(cursor_t *c)
{
    while (at(c, ' '))
        c->p++;
}

static void skip_ows(cursor_t *c)
{
    while (at(c, ' ') || at(c, '\t'))
        c->p++;
}

/* 4.2.3.3 */
static bool take_key(cursor_t *c, span_t *key)
{
    const char *from = c->p;
    if (c->p == c->end || !(is_lower(*c->p) || *c->p == '*'))
        return false;
    while (at_class(c, CHARS_SF_KEY))
        c->p++;
    *key = span_of(from, (size_t)(c->p - from));
    return true;
}

/* 4.2.4 */
static bool take_number(cursor_t *c, sf_value_t *out)
{
    bool minus = take(c, '-');
    int digits = 0, fraction = 0;
    int64_t v = 0;
    for (; at_class(c, CHARS_DIGIT); c->p++) {
        if (++digits > INTEGER_DIGITS)
            return false;
        v = v * 10 + (*c->p - '0');
    }
    if (digits == 0)
        return false;
    out->type = SF_INTEGER;
    if (take(c, '.')) {
        if (digits > DECIMAL_DIGITS)
            return false;
        out->type = SF_DECIMAL;
        for (; at_class(c, CHARS_DIGIT); c->p++) {
            if (++fraction > FRACTION_DIGITS)
                return false;
            v = v * 10 + (*c->p - '0');
        }
        if (fraction == 0)
            return false;
        for (; fraction < FRACTION_DIGITS; fraction++)
            v *= 10;
    }
    out->number = minus ? -v : v;
    return true;
}

/* 4.2.5 */
static bool take_string(cursor_t *c, sf_value_t *out)
{
    const char *from = ++c->p;
    for (; c->p < c->end; c->p++) {
        if (*c->p == '"') {
            out->type = SF_STRING;
            out->text = span_of(from, (size_t)(c->p++ - from));
            return true;
        }
        if (*c->p == '\\') {
            c->p++;
            if (!at(c, '"') && !at(c, '\\'))
                return false;
        } else if ((unsigned char)*c->p < 0x20 || (unsigned char)*c->p > 0x7e)
            return false;
    }
    return false;
}

/* 4.2.6 */
static bool take_token(cursor_t *c, sf_value_t *out)
{
    const char *from = c->p;
    while (at_class(c, CHARS_TOKEN) || at(c, ':') || at(c, '/'))
        c->p++;
    out->type = SF_TOKEN;
    out->text = span_of(from, (size_t)(c->p - from));
    return true;
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* 4.2.7; padding may be missing, but not be wrong. */
static bool take_bytes(cursor_t *c, sf_value_t *out)
{
    const char *from = ++c->p;
    while (c->p < c->end && base64_value(*c->p) >= 0)
        c->p++;
    size_t chars = (size_t)(c->p - from), padding = 0;
    while (take(c, '='))
        padding++;
    if (chars % 4 == 1 || (padding > 0 && (padding > 2 || (chars + padding) % 4 != 0)))
        return false;
    out->type = SF_BYTES;
    out->text = span_of(from, chars + padding);
    return take(c, ':');
}

/* 4.2.8 */
static bool take_boolean(cursor_t *c, sf_value_t *out)
{
    c->p++;
    if (!at(c, '0') && !at(c, '1'))
        return false;
    out->type = SF_BOOLEAN;
    out->number = *c->p++ - '0';
    return true;
}

/* 4.2.9 */
static bool take_sf_date(cursor_t *c, sf_value_t *out)
{
    c->p++;
    if (!take_number(c, out) || out->type != SF_INTEGER)
        return false;
    out->type = SF_DATE;
    return true;
}

/* A byte of a display string, "%c3" or itself; -1 when malformed. */
static int display_byte(cursor_t *c)
{
    if (!take(c, '%'))
        return (unsigned char)*c->p++;
    if (c->end - c->p < 2 || (c->p[0] >= 'A' && c->p[0] <= 'F') || (c->p[1] >= 'A' && c->p[1] <= 'F'))
        return -1;
    int hi = chars_hex(c->p[0]), lo = chars_hex(c->p[1]);
    c->p += 2;
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* 4.2.10: what it decodes to must be UTF-8; at most four bytes of it are held. */
static bool take_display(cursor_t *c, sf_value_t *out)
{
    char held[4];
    size_t held_n = 0;
    c->p++;
    if (!take(c, '"'))
        return false;
    const char *from = c->p;
    while (c->p < c->end && *c->p != '"') {
        if ((unsigned char)*c->p < 0x20 || (unsigned char)*c->p > 0x7e)
            return false;
        int byte = display_byte(c);
        if (byte < 0)
            return false;
        held[held_n++] = (char)byte;
        if (utf8_length(held, held_n) == held_n)
            held_n = 0;
        else if (held_n == sizeof held)
            return false;
    }
    out->type = SF_DISPLAY;
    out->text = span_of(from, (size_t)(c->p - from));
    return held_n == 0 && take(c, '"');
}

/* 4.2.3.1 */
static bool take_bare(cursor_t *c, sf_value_t *out)
{
    *out = (sf_value_t){.text = SPAN_NONE};
    if (c->p == c->end)
        return false;
    switch (*c->p) {
    case '"':
        return take_string(c, out);
    case ':':
        return take_bytes(c, out);
    case '?':
        return take_boolean(c, out);
    case '@':
        return take_sf_date(c, out);
    case '%':
        return take_display(c, out);
    case '*':
        return take_token(c, out);
    case '-':
        return take_number(c, out);
    default:
        if (is_alpha(*c->p))
            return take_token(c, out);
        return chars_is(*c->p, CHARS_DIGIT) && take_number(c, out);
    }
}

static void be_true(sf_value_t *out)
{
    *out = (sf_value_t){.type = SF_BOOLEAN, .number = 1};
}

/* One ";key=value" of 4.2.3.2. */
static bool take_param(cursor_t *c, span_t *key, sf_value_t *out)
{
    if (!take(c, ';'))
        return false;
    skip_sp(c);
    if (!take_key(c, key))
        return false;
    be_true(out);
    return !take(c, '=') || take_bare(c, out);
}

static bool take_params(cursor_t *c, span_t *params)
{
    const char *from = c->p;
    span_t key;
    sf_value_t v;
    while (at(c, ';'))
        if (!take_param(c, &key, &v))
            return false;
    *params = span_of(from, (size_t)(c->p - from));
    return true;
}

/* 4.2.3 */
static bool take_item(cursor_t *c, sf_value_t *out)
{
    return take_bare(c, out) && take_params(c, &out->params);
}

/* 4.2.1.2 */
static bool take_inner(cursor_t *c, sf_value_t *out)
{
    const char *from = ++c->p;
    sf_value_t v;
    for (;;) {
        skip_sp(c);
        if (at(c, ')'))
            break;
        if (!take_item(c, &v) || !(at(c, ' ') || at(c, ')')))
            return false;
    }
    *out = (sf_value_t){.type = SF_INNER_LIST, .text = span_of(from, (size_t)(c->p++ - from))};
    return take_params(c, &out->params);
}

static bool take_member(cursor_t *c, sf_value_t *out)
{
    return at(c, '(') ? take_inner(c, out) : take_item(c, out);
}

/* ---- iterators ---- */

void sf_init(sf_t *it, span_t text)
{
    *it = (sf_t){.p = text.p, .end = text.n > 0 ? text.p + text.n : text.p};
}

/* Steps to the next member of a list or dictionary. */
static err_t next_member(const sf_t *it, cursor_t *c)
{
    *c = (cursor_t){it->p, it->end};
    if (!it->begun) {
        skip_sp(c);
        return c->p == c->end ? ERR_NOT_FOUND : ERR_OK;
    }
    skip_ows(c);
    if (c->p == c->end)
        return ERR_NOT_FOUND;
    if (!take(c, ','))
        return ERR_SYNTAX;
    skip_ows(c);
    return c->p == c->end ? ERR_SYNTAX : ERR_OK;
}

static err_t went(sf_t *it, const cursor_t *c, bool ok)
{
    if (!ok)
        return ERR_SYNTAX;
    it->p = c->p;
    it->begun = true;
    return ERR_OK;
}

err_t sf_list_next(sf_t *it, sf_value_t *out)
{
    cursor_t c;
    err_t e = next_member(it, &c);
    return e != ERR_OK ? e : went(it, &c, take_member(&c, out));
}

err_t sf_dictionary_next(sf_t *it, span_t *key, sf_value_t *out)
{
    cursor_t c;
    err_t e = next_member(it, &c);
    if (e != ERR_OK)
        return e;
    if (!take_key(&c, key))
        return ERR_SYNTAX;
    if (take(&c, '='))
        return went(it, &c, take_member(&c, out));
    be_true(out);
    return went(it, &c, take_params(&c, &out->params));
}

err_t sf_inner_next(sf_t *it, sf_value_t *out)
{
    cursor_t c = {it->p, it->end};
    skip_sp(&c);
    if (c.p == c.end)
        return ERR_NOT_FOUND;
    if (it->begun && c.p == it->p)
        return ERR_SYNTAX;
    return went(it, &c, take_item(&c, out));
}

err_t sf_params_next(sf_t *it, span_t *key, sf_value_t *out)
{
    cursor_t c = {it->p, it->end};
    if (c.p == c.end)
        return ERR_NOT_FOUND;
    return went(it, &c, take_param(&c, key, out));
}

err_t sf_item(span_t text, sf_value_t *out)
{
    sf_t it;
    sf_init(&it, text);
    cursor_t c = {it.p, it.end};
    skip_sp(&c);
    if (!take_item(&c, out))
        return ERR_SYNTAX;
    skip_sp(&c);
    return c.p == c.end ? ERR_OK : ERR_SYNTAX;
}

bool sf_param(const sf_value_t *v, span_t key, sf_value_t *out)
{
    sf_t it;
    span_t k;
    sf_value_t p;
    bool found = false;
    sf_init(&it, v->params);
    while (sf_params_next(&it, &k, &p) == ERR_OK)
        if (span_eq(k, key)) {
            *out = p;
            found = true;
        }
    return found;
}

/* ---- meaning ---- */

static span_t text_of_string(span_t text, arena_t *a)
{
    if (span_find(text, '\\') == text.n)
        return text;
    char *p = arena_alloc(a, text.n);
    size_t n = 0;
    if (p == NULL)
        return SPAN_NONE;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\' && i + 1 < text.n)
            i++;
        p[n++] = text.p[i];
    }
    return span_of(p, n);
}

static span_t text_of_display(span_t text, arena_t *a)
{
    if (span_find(text, '%') == text.n)
        return text;
    char *p = arena_alloc(a, text.n);
    size_t n = 0;
    if (p == NULL)
        return SPAN_NONE;
    for (cursor_t c = {text.p, text.p + text.n}; c.p < c.end;) {
        int byte = display_byte(&c);
        if (byte < 0)
            return SPAN_NONE;
        p[n++] = (char)byte;
    }
    return span_of(p, n);
}

static span_t text_of_bytes(span_t text, arena_t *a)
{
    char *p = arena_alloc(a, text.n / 4 * 3 + 3);
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    if (p == NULL)
        return SPAN_NONE;
    for (size_t i = 0; i < text.n && text.p[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)base64_value(text.p[i]);
        have += 6;
        if (have >= 8) {
            have -= 8;
            p[n++] = (char)(bits >> have & 0xff);
        }
    }
    return span_of(p, n);
}

span_t sf_text(const sf_value_t *v, arena_t *a)
{
    switch (v->type) {
    case SF_TOKEN:
        return v->text;
    case SF_STRING:
        return text_of_string(v->text, a);
    case SF_DISPLAY:
        return text_of_display(v->text, a);
    case SF_BYTES:
        return text_of_bytes(v->text, a);
    default:
        return SPAN_NONE;
    }
}

/* ---- writing ---- */

bool sf_token_valid(span_t s)
{
    if (s.n == 0 || !(is_alpha(s.p[0]) || s.p[0] == '*'))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!chars_is(s.p[i], CHARS_TOKEN) && s.p[i] != ':' && s.p[i] != '/')
            return false;
    return true;
}

span_t sf_write_name(arena_t *a, span_t s)
{
    size_t n = 2;
    if (sf_token_valid(s))
        return arena_copy(a, s);
    for (size_t i = 0; i < s.n; i++, n++) {
        if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] > 0x7e)
            return SPAN_NONE;
        n += s.p[i] == '"' || s.p[i] == '\\';
    }
    char *p = arena_alloc(a, n), *to = p;
    if (p == NULL)
        return SPAN_NONE;
    *to++ = '"';
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            *to++ = '\\';
        *to++ = s.p[i];
    }
    *to++ = '"';
    return span_of(p, (size_t)(to - p));
}
