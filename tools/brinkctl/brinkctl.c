/* brinkctl: the operator's command. It speaks to one node's admin API; what concerns a fleet, the node passes on. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "tools/brinkctl/call.h"
#include "tools/brinkctl/cmd.h"

static const char brinkctl_help[] =
    "brinkctl: the operator's command for brink\n"
    "\n"
    "  brinkctl purge [--url URL | --tag TAG | --prefix HOST/PATH | --host HOST | --all]...\n"
    "                 [--from-file FILE] [--soft] [--wait none|local|fleet] [--timeout 2s] [--json]\n"
    "      Takes out of the caches whatever one of the selectors covers. --soft: it is stale from now on, not gone.\n"
    "      --wait fleet: a line for each node when it has applied it; returns when every live one has, or fails after\n"
    "      --timeout (5s).\n"
    "      --from-file: one value a line (- reads standard input): a URL if it begins with http:// or https://,\n"
    "      else a tag; empty lines and lines that begin with # are passed over.\n"
    "  brinkctl purge --receipt ID [--json]\n"
    "      Who has applied an earlier purge.\n"
    "  brinkctl status [--json]\n"
    "      What the node says of itself.\n"
    "  brinkctl top [--interval 1s] [--urls 10] [--json]\n"
    "      Requests a second by result, hit ratio, bytes, latencies, upstreams, and the sites and URLs that are asked for\n"
    "      most: again each --interval on a terminal, else (and with --json) once.\n"
    "  brinkctl log [--last 100] [--follow] [--host HOST] [--status 404|5xx] [--cache HIT] [--json]\n"
    "      The last lines of the access log, wherever the node writes it, if anywhere (where it is off or not JSON, from\n"
    "      when somebody asks on); --follow goes on with those that come, --json prints them as they are.\n"
    "  brinkctl explain URL [--header NAME:VALUE]... [--client ADDRESS] [--json]\n"
    "      What the node holds for the URL, and what the next request for it (with these fields, from that address)\n"
    "      would be answered with, and why: rule by rule. Changes nothing.\n"
    "  brinkctl sign https://HOST/PATH --secret-file FILE [--for 1h] [--cookie]\n"
    "      A signed URL, or with --cookie a cookie that opens all below a folder, for rules with signed: true.\n"
    "  brinkctl check FILE... [--json]\n"
    "      Is this a good configuration? FILE:LINE:COLUMN and what is wrong, or nothing.\n"
    "  brinkctl check [--json]\n"
    "      Is the node alive and ready?\n"
    "\n"
    "Where and who: --admin URL (or unix:PATH; else BRINK_ADMIN, else http://127.0.0.1:9090);\n"
    "--token-file FILE (- reads standard input; else BRINK_TOKEN). For https: --ca FILE, and --certificate FILE with\n"
    "--key FILE where the node asks for one.\n"
    "\n"
    "It ends with 0 when what was asked for was reached, 1 when the node refused or is not ready, 2 when the command\n"
    "line or a configuration is wrong, 3 when the node does not answer, 4 when a purge is in force, though not yet on\n"
    "every node that was waited for.\n";

static const struct {
    const char *name;
    int (*run)(args_t *a);
} brinkctl_commands[] = {
    {"purge", cmd_purge}, {"status", cmd_status}, {"top", cmd_top},     {"log", cmd_log},
    {"explain", cmd_explain}, {"check", cmd_check}, {"sign", cmd_sign}};

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        printf("brinkctl %s\n", BRINK_VERSION);
        return CALL_EXIT_OK;
    }
    if (argc < 2 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        fputs(brinkctl_help, argc < 2 ? stderr : stdout);
        return argc < 2 ? ARGS_EXIT_USAGE : CALL_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof brinkctl_commands / sizeof *brinkctl_commands; i++) {
        if (strcmp(name, brinkctl_commands[i].name) != 0)
            continue;
        for (int k = 2; k < argc; k++)
            if (strcmp(argv[k], "--help") == 0 || (k == 2 && strcmp(argv[k], "-h") == 0)) {
                fputs(brinkctl_help, stdout);
                return CALL_EXIT_OK;
            }
        curl_global_init(CURL_GLOBAL_DEFAULT);
        args_t a = {.argc = argc, .at = 2, .argv = argv, .command = name};
        int code = brinkctl_commands[i].run(&a);
        curl_global_cleanup();
        if (fflush(stdout) != 0 || ferror(stdout)) {
            fprintf(stderr, "brinkctl %s: the output can't be written\n", name);
            code = code == CALL_EXIT_OK ? CALL_EXIT_REFUSED : code;
        }
        return code;
    }
    fprintf(stderr,
            "brinkctl: there is no command '%s'; there are purge, status, top, log, explain, check and sign (brinkctl --help)\n",
            name);
    return ARGS_EXIT_USAGE;
}
