/* By type: text, and what is text in disguise or has no coding of its own. Images, video, archives and WOFF are coded
 * by themselves. A stream of events isn't coded: each lives for hours, and would hold a coder for a few bytes a minute.
 * A digest of the content (RFC 9530, Content-MD5) speaks of the bytes as the origin sent them and may be signed, so
 * these are left as they are. */
#include "edge/policy/codable.h"

#include "edge/http/cache_control.h"

static bool codable_in(span_t s, const span_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_caseeq(s, list[i]))
            return true;
    return false;
}

static bool codable_ends(span_t s, span_t suffix)
{
    return s.n > suffix.n && span_caseeq(span_from(s, s.n - suffix.n), suffix);
}

static bool codable_type(span_t value)
{
    static const span_t types[] = {
        SPAN("application/json"),
        SPAN("application/javascript"),
        SPAN("application/x-javascript"),
        SPAN("application/ecmascript"),
        SPAN("application/xml"),
        SPAN("application/xml-dtd"),
        SPAN("application/wasm"),
        SPAN("application/yaml"),
        SPAN("application/x-ndjson"),
        SPAN("application/json-seq"),
        SPAN("application/graphql"),
        SPAN("application/rtf"),
        SPAN("application/x-www-form-urlencoded"),
        SPAN("application/vnd.apple.mpegurl"),
        SPAN("application/x-mpegurl"),
        SPAN("application/vnd.ms-fontobject"),
        SPAN("application/x-font-ttf"),
        SPAN("application/x-font-otf"),
        SPAN("application/x-font-truetype"),
        SPAN("application/x-font-opentype"),
        SPAN("font/ttf"),
        SPAN("font/otf"),
        SPAN("font/sfnt"),
        SPAN("font/collection"),
        SPAN("font/eot"),
        SPAN("image/bmp"),
        SPAN("image/x-icon"),
        SPAN("image/vnd.microsoft.icon"),
    };
    span_t type = span_trim(span_upto(value, span_find(value, ';')));
    if (span_caseeq(span_upto(type, 5), SPAN("text/")))
        return type.n > 5 && !span_caseeq(type, SPAN("text/event-stream"));
    return codable_in(type, types, sizeof types / sizeof *types) || codable_ends(type, SPAN("+json")) ||
           codable_ends(type, SPAN("+xml")) || codable_ends(type, SPAN("+yaml")) || codable_ends(type, SPAN("+text"));
}

static bool codable_has_digest(const fields_t *response)
{
    static const span_t names[] = {SPAN("content-md5"), SPAN("digest"), SPAN("content-digest"), SPAN("repr-digest")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fields_has(response, names[i]))
            return true;
    return false;
}

codable_t codable_decide(int status, const fields_t *response)
{
    cache_control_t cc;
    if (status != 200 || fields_has(response, SPAN("content-range")))
        return CODABLE_STATUS;
    if (fields_has(response, SPAN("content-encoding")))
        return CODABLE_CODED;
    if (fields_count(response, SPAN("content-type")) != 1 || !codable_type(fields_get(response, SPAN("content-type"))))
        return CODABLE_TYPE;
    if (cache_control_parse(&cc, response, SPAN("cache-control")) && (cc.flags & CACHE_CONTROL_NO_TRANSFORM) != 0)
        return CODABLE_NO_TRANSFORM;
    return codable_has_digest(response) ? CODABLE_DIGEST : CODABLE_YES;
}

typedef struct codable_row {
    const char *word, *section, *says;
} codable_row_t;

static const codable_row_t codable_rows[] = {
#define CODABLE(id, word, section, says) {word, section, says},
#include "edge/policy/codable.def"
#undef CODABLE
};

const char *codable_word(codable_t c)
{
    return codable_rows[c].word;
}

const char *codable_section(codable_t c)
{
    return codable_rows[c].section;
}

const char *codable_says(codable_t c)
{
    return codable_rows[c].says;
}
