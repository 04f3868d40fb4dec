/* The table of settings, made of edge/tbl/config.def. */
#include "edge/conf/conf_priv.h"

#include <stddef.h>

#include "edge/http/fields.h"
#include "edge/policy/key.h"

#define KIB(n) ((int64_t)(n) << 10)
#define MIB(n) ((int64_t)(n) << 20)
#define GIB(n) ((int64_t)(n) << 30)
#define TIB(n) ((int64_t)(n) << 40)
#define SECONDS(n) ((int64_t)(n)*1000)
#define MINUTES(n) SECONDS((n)*60)
#define HOURS(n) MINUTES((n)*60)
#define DAYS(n) HOURS((n)*24LL)
#define LIST(type_of_element, type, member) .element = sizeof(type_of_element), .count = offsetof(type, member##_n)

#define SECTION(id, name, doc) static const conf_setting_t settings_##id[] = {
#define SETTING(type, key_, kind_, member, ...)                                                                        \
    {.key = #key_, .kind = CONF_KIND_##kind_, .offset = offsetof(type, member), __VA_ARGS__},
#define END(id)                                                                                                        \
    }                                                                                                                  \
    ;                                                                                                                  \
    _Static_assert(sizeof settings_##id / sizeof *settings_##id <= CONF_MAX_SETTINGS, "too many settings");
#include "edge/tbl/config.def"
#undef SECTION
#undef SETTING
#undef END

const conf_section_t conf_sections[SECTIONS] = {
#define SECTION(id_, name_, doc_)                                                                                      \
    [SECTION_##id_] = {.id = #id_,                                                                                     \
                       .name = name_,                                                                                  \
                       .doc = doc_,                                                                                    \
                       .settings = settings_##id_,                                                                     \
                       .n = sizeof settings_##id_ / sizeof *settings_##id_},
#define SETTING(...)
#define END(id)
#include "edge/tbl/config.def"
};
