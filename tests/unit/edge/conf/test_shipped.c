/* What is shipped must be accepted as it stands, once the files that it names are there. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/conf/conf.h"

static void configs(char *out, size_t n)
{
    snprintf(out, n, "%s", BRINK_SOURCE_DIR "/configs");
}

Test(shipped, configurations_are_accepted)
{
    char from[1100], dir[] = "/tmp/brink-shipped-XXXXXX", path[1400], command[3000];
    configs(from, sizeof from);
    cr_assert_not_null(mkdtemp(dir));
    snprintf(
        command, sizeof command,
        "cp '%s'/*.yaml %s && printf 0123456789abcdef0123456789abcdef > %s/tier.secret && chmod 600 %s/tier.secret",
        from, dir, dir, dir);
    cr_assert_eq(system(command), 0);
    DIR *d = opendir(dir);
    int accepted = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strstr(e->d_name, ".yaml") == NULL)
            continue;
        conf_t *c;
        conf_error_t err;
        char text[1200];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        cr_assert_eq(conf_load(path, &c, &err), ERR_OK, "%s", conf_error_text(&err, text, sizeof text));
        cr_assert_eq(c->warnings_n, 0, "%s: %s", e->d_name, c->warnings_n > 0 ? c->warnings[0].message.p : "");
        cr_assert_eq(c->tier.present, strcmp(e->d_name, "shield.yaml") == 0);
        cr_assert_eq(c->shield.present, strcmp(e->d_name, "edge.yaml") == 0);
        conf_unref(c);
        accepted++;
    }
    closedir(d);
    cr_assert_geq(accepted, 3);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

/* What edge.yaml calls a default is one: the file without those lines means the same. */
Test(shipped, what_is_called_default_is_default)
{
    char from[1100], path[1200];
    configs(from, sizeof from);
    snprintf(path, sizeof path, "%s/edge.yaml", from);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    static char all[65536], fewer[65536];
    char line[1024];
    bool in_shield = false;
    while (fgets(line, sizeof line, f) != NULL) {
        /* The secret isn't there; the shield has its own test. */
        if (line[0] != ' ' && line[0] != '\n')
            in_shield = strncmp(line, "shield:", 7) == 0;
        if (in_shield)
            continue;
        strcat(all, line);
        const char *hash = strchr(line, '#');
        if (hash == NULL || (strncmp(hash, "# default", 9) != 0))
            strcat(fewer, line);
        if (strncmp(line, "upstream:", 9) == 0)
            strcat(fewer, "  retries: 1\n");
        if (strncmp(line, "log:", 4) == 0)
            strcat(fewer, "  access: stdout\n");
    }
    fclose(f);
    conf_t *a, *b;
    conf_error_t err;
    cr_assert_eq(conf_parse(span_str(all), "a", &a, &err), ERR_OK, "%d: %s", err.line, err.message);
    cr_assert_eq(conf_parse(span_str(fewer), "b", &b, &err), ERR_OK, "%d: %s", err.line, err.message);
    cr_assert_lt(strlen(fewer) + 600, strlen(all));
    cr_assert_eq(a->drain, b->drain);
    cr_assert_eq(memcmp(&a->upstream, &b->upstream, sizeof a->upstream), 0);
    cr_assert_eq(a->sites[0].max_body, b->sites[0].max_body);
    cr_assert_eq(a->sites[0].refill, b->sites[0].refill);
    cr_assert_eq(a->sites[0].early_refresh, b->sites[0].early_refresh);
    cr_assert_eq(a->sites[0].server_timing, b->sites[0].server_timing);
    cr_assert_eq(a->sites[0].key.cookies_n, b->sites[0].key.cookies_n);
    cr_assert_eq(a->sites[0].compress_n, b->sites[0].compress_n);
    cr_assert_eq(memcmp(a->sites[0].compress, b->sites[0].compress, sizeof a->sites[0].compress), 0);
    cr_assert(span_eq(a->purge.stream, b->purge.stream));
    cr_assert(span_eq(a->purge.channel, b->purge.channel));
    cr_assert_eq(a->purge.keep, b->purge.keep);
    cr_assert_eq(a->purge.on_gap, b->purge.on_gap);
    cr_assert_eq(a->purge.wait_timeout, b->purge.wait_timeout);
    cr_assert_eq(a->purge.start_without_redis, b->purge.start_without_redis);
    cr_assert_eq(a->purge.max_disconnected, b->purge.max_disconnected);
    cr_assert_eq(a->log.access, b->log.access);
    cr_assert_eq(a->log.format, b->log.format);
    conf_unref(a);
    conf_unref(b);
}
