/* The reference of all settings, and what a reload can't change: two more readings of the same table. */
#include "edge/conf/conf_priv.h"

#include "edge/base/check.h"
#include "edge/conf/units.h"

static const char *describe_number(const conf_setting_t *s, int64_t v, char buf[32])
{
    if (s->kind == CONF_KIND_SIZE)
        return units_write_size(v, buf);
    if (s->kind == CONF_KIND_DURATION || s->kind == CONF_KIND_DURATION_OR_NEVER)
        return units_write_duration(v, buf);
    snprintf(buf, 32, "%lld", (long long)v);
    return buf;
}

static void describe_setting(FILE *to, const conf_section_t *section, const conf_setting_t *s)
{
    char low[32], high[32];
    bool number = s->kind == CONF_KIND_SIZE || s->kind == CONF_KIND_DURATION ||
                  s->kind == CONF_KIND_DURATION_OR_NEVER || s->kind == CONF_KIND_COUNT;
    fprintf(to, "%s%s%s: %s", section->name, section->name[0] != '\0' ? "." : "", s->key,
            s->kind == CONF_KIND_WORD ? s->words : kind_doc(s->kind));
    if (number)
        fprintf(to, ", %s to %s", describe_number(s, s->min, low), describe_number(s, s->max, high));
    if (s->flags & REQUIRED)
        fprintf(to, "; required");
    else if (s->dflt_doc != NULL || s->dflt != NULL)
        fprintf(to, "; default: %s", s->dflt_doc != NULL ? s->dflt_doc : s->dflt);
    if (s->flags & RESTART && s->kind != CONF_KIND_MAP && s->kind != CONF_KIND_MAPS)
        fprintf(to, "; a change needs a restart");
    fprintf(to, "\n    %s\n", s->doc);
}

static void describe_section(FILE *to, const conf_section_t *section)
{
    fprintf(to, "\n# %s%s%s\n", section->name, section->name[0] != '\0' ? ": " : "", section->doc);
    for (size_t i = 0; i < section->n; i++)
        if (section->settings[i].kind != CONF_KIND_MAP && section->settings[i].kind != CONF_KIND_MAPS)
            describe_setting(to, section, &section->settings[i]);
    for (size_t i = 0; i < section->n; i++)
        if (section->settings[i].kind == CONF_KIND_MAP || section->settings[i].kind == CONF_KIND_MAPS ||
            section->settings[i].kind == CONF_KIND_ORIGINS)
            describe_section(to, &conf_sections[section->settings[i].child]);
}

void conf_describe(FILE *to)
{
    fprintf(to, "Sizes: 64KiB, 256MiB, 20GiB or bytes. Durations: 250ms, 30s, 5m, 1h, 7d. Relative file names are "
                "relative to the\n"
                "configuration file's directory.\n");
    describe_section(to, &conf_sections[SECTION_root]);
}

/* ---- what differs ---- */
static bool describe_same_section(conf_section_id_t id, const char *a, const char *b);

static bool describe_same(const conf_setting_t *s, const char *a, const char *b)
{
    const char *x = a + s->offset, *y = b + s->offset;
    switch (s->kind) {
    case CONF_KIND_MAP:
        if (s->flags & OPTIONAL && *(const bool *)x != *(const bool *)y)
            return false;
        return (s->flags & OPTIONAL && !*(const bool *)x) || describe_same_section(s->child, x, y);
    case CONF_KIND_MAPS: {
        size_t n = *(const size_t *)(const void *)(a + s->count);
        const char *v = *(const char *const *)(const void *)x, *w = *(const char *const *)(const void *)y;
        if (n != *(const size_t *)(const void *)(b + s->count))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!describe_same_section(s->child, v + i * s->element, w + i * s->element))
                return false;
        return true;
    }
    case CONF_KIND_NAME:
    case CONF_KIND_FILE:
    case CONF_KIND_REDIS_KEY:
    case CONF_KIND_CHANNEL: {
        const span_t *v = (const span_t *)(const void *)x, *w = (const span_t *)(const void *)y;
        return (v->p == NULL) == (w->p == NULL) && span_eq(*v, *w);
    }
    case CONF_KIND_COUNT:
        return *(const uint32_t *)(const void *)x == *(const uint32_t *)(const void *)y;
    case CONF_KIND_WORD:
        return *(const unsigned *)(const void *)x == *(const unsigned *)(const void *)y;
    case CONF_KIND_SIZE:
        return *(const uint64_t *)(const void *)x == *(const uint64_t *)(const void *)y;
    case CONF_KIND_DURATION:
    case CONF_KIND_DURATION_OR_NEVER:
        return *(const msec_t *)(const void *)x == *(const msec_t *)(const void *)y;
    case CONF_KIND_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case CONF_KIND_ADDRESS: {
        const conf_address_t *v = (const conf_address_t *)(const void *)x, *w = (const conf_address_t *)(const void *)y;
        return v->kind == w->kind && v->sa_len == w->sa_len && memcmp(&v->sa, &w->sa, v->sa_len) == 0;
    }
    case CONF_KIND_NETWORKS: {
        size_t n = *(const size_t *)(const void *)(a + s->count);
        return n == *(const size_t *)(const void *)(b + s->count) &&
               (n == 0 || memcmp(*(const network_t *const *)(const void *)x, *(const network_t *const *)(const void *)y,
                                 n * sizeof(network_t)) == 0);
    }
    case CONF_KIND_REDIS: {
        const conf_redis_t *v = (const conf_redis_t *)(const void *)x, *w = (const conf_redis_t *)(const void *)y;
        return v->kind == w->kind && span_eq(v->shown, w->shown) && span_eq(v->user, w->user) &&
               span_eq(v->password, w->password);
    }
    default:
        CHECK(!"a setting of this kind can't be marked RESTART");
        return false;
    }
}

/* Only what is marked RESTART counts. */
static bool describe_same_section(conf_section_id_t id, const char *a, const char *b)
{
    const conf_section_t *section = &conf_sections[id];
    for (size_t i = 0; i < section->n; i++)
        if (section->settings[i].flags & RESTART && !describe_same(&section->settings[i], a, b))
            return false;
    return true;
}

const char *conf_restart_needed(const conf_t *running, const conf_t *wanted, size_t *at)
{
    const conf_section_t *root = &conf_sections[SECTION_root];
    while (*at < root->n) {
        const conf_setting_t *s = &root->settings[(*at)++];
        if (s->flags & RESTART && !describe_same(s, (const char *)running, (const char *)wanted))
            return s->key;
    }
    return NULL;
}
