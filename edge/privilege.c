/* Order matters: groups before user, since the user may no longer change them, and a last try to come back, which must
 * fail. Folders are made before, with root's power to write where they are to be, and only those that were made here
 * are given away: a folder that somebody else set up is that somebody's business. */
#include "edge/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PRIVILEGE_FOLDER_MODE = 0750, PRIVILEGE_BUFFER = 16 * 1024 };

static err_t privilege_folder(span_t folder, const struct passwd *who, char *err, size_t err_size)
{
    if (folder.p == NULL)
        return ERR_OK;
    if (mkdir(folder.p, PRIVILEGE_FOLDER_MODE) != 0) {
        if (errno == EEXIST)
            return ERR_OK;
        snprintf(err, err_size, "%s can't be made: %s", folder.p, strerror(errno));
        return ERR_IO;
    }
    if (lchown(folder.p, who->pw_uid, who->pw_gid) != 0) {
        snprintf(err, err_size, "%s can't be given to %s: %s", folder.p, who->pw_name, strerror(errno));
        return ERR_IO;
    }
    return ERR_OK;
}

/* The strings of `entry` are in `buf`. */
static err_t privilege_find(span_t user, struct passwd *entry, char buf[PRIVILEGE_BUFFER], char *err, size_t err_size)
{
    struct passwd *who = NULL;
    int rc = getpwnam_r(user.p, entry, buf, PRIVILEGE_BUFFER, &who);
    if (who != NULL)
        return ERR_OK;
    snprintf(err, err_size, "user %s: %s. Make it with: useradd --system --shell /usr/sbin/nologin %s", user.p,
             rc != 0 ? strerror(rc) : "there is no such user", user.p);
    return ERR_NOT_FOUND;
}

err_t privilege_known(span_t user, char *err, size_t err_size)
{
    char buf[PRIVILEGE_BUFFER];
    struct passwd entry;
    return privilege_find(user, &entry, buf, err, err_size);
}

err_t privilege_drop(span_t user, const span_t *folders, size_t n, char *err, size_t err_size)
{
    char buf[PRIVILEGE_BUFFER];
    struct passwd entry, *who = &entry;
    err_t found = privilege_find(user, &entry, buf, err, err_size);
    if (found != ERR_OK)
        return found;
    if (geteuid() == who->pw_uid && getuid() == who->pw_uid)
        return ERR_OK;
    if (geteuid() != 0) {
        snprintf(err, err_size,
                 "user %s: only root can become another user; start brinkd as root or as %s, or take `user` out",
                 user.p, user.p);
        return ERR_REFUSED;
    }
    for (size_t i = 0; i < n; i++) {
        err_t e = privilege_folder(folders[i], who, err, err_size);
        if (e != ERR_OK)
            return e;
    }
    if (initgroups(who->pw_name, who->pw_gid) != 0 || setresgid(who->pw_gid, who->pw_gid, who->pw_gid) != 0 ||
        setresuid(who->pw_uid, who->pw_uid, who->pw_uid) != 0) {
        snprintf(err, err_size, "can't become user %s: %s", user.p, strerror(errno));
        return ERR_REFUSED;
    }
    if (who->pw_uid != 0 && (setuid(0) == 0 || geteuid() == 0)) {
        snprintf(err, err_size, "user %s: root was not left", user.p);
        return ERR_REFUSED;
    }
    return ERR_OK;
}

void privilege_dumps(bool allow)
{
    if (!allow) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
    }
    prctl(PR_SET_DUMPABLE, allow ? 1 : 0, 0, 0, 0);
}

size_t privilege_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    if (r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
        getrlimit(RLIMIT_NOFILE, &r);
    }
    return (size_t)r.rlim_cur;
}
