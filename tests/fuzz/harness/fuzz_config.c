/* Any bytes as a configuration: refused with a place in them, or a snapshot that answers every question. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    conf_t *c;
    conf_error_t err;
    span_t bytes = span_of((const char *)data, size);
    err_t e = conf_parse(bytes, "fuzz.yaml", &c, &err);
    if (e != ERR_OK) {
        CHECK(c == NULL && err.message[0] != '\0' && err.line >= 0 && err.column >= 0);
        return 0;
    }
    CHECK(c->sites_n > 0 && c->listeners_n > 0 && c->memory.max_object <= c->memory.size);
    conf_site_for(c, bytes);
    for (size_t i = 0; i < c->sites_n; i++) {
        const conf_site_t *site = &c->sites[i];
        for (size_t h = 0; h < site->hosts_n; h++) {
            span_t host = site->hosts[h];
            /* A plain pattern finds its own site. */
            if (host.p[0] != '*')
                CHECK(conf_site_for(c, host) == site && conf_host_matches(&site->hosts[h], 1, host));
        }
        rules_t r = conf_rules_for(site, bytes);
        CHECK(r.ttl >= RULES_UNSET && r.override_ttl >= RULES_UNSET);
        for (size_t o = 0; o < site->origins_n; o++)
            CHECK(span_eq(c->upstreams[site->origins[o].index]->url, site->origins[o].url));
    }
    /* Reading it again changes nothing that a restart would be needed for. */
    conf_t *again;
    size_t at = 0;
    CHECK(conf_parse(bytes, "fuzz.yaml", &again, &err) == ERR_OK && conf_restart_needed(c, again, &at) == NULL);
    conf_unref(again);
    conf_unref(c);
    return 0;
}
