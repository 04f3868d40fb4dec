/* A list of what is refused, not of what is allowed: an allowed list would have to name whatever libc, resolver
 * modules, OpenSSL and sanitizers of tomorrow may call, and break with them; the systemd unit has one besides
 * (SystemCallFilter=@system-service). What is on the list is what attacks need and a cache never does: namespaces,
 * mounts, modules, BPF, io_uring, keys, tracing of others, odd sockets, clocks, and code that is written before it is
 * run. System calls whose arguments don't matter are decided by the kernel in a bitmap before any filter runs (Linux
 * 5.11), so a hit pays nothing for it. */
#include "edge/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>

#ifndef PR_SET_MDWE
enum { PR_SET_MDWE = 65 };
#endif
#ifndef PR_MDWE_REFUSE_EXEC_GAIN
enum { PR_MDWE_REFUSE_EXEC_GAIN = 1 };
#endif

enum {
    SANDBOX_NAME_MAX = 32,
    SANDBOX_NAMESPACES =
        CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
};

/* Separated by spaces. Names that this architecture or this libseccomp doesn't know are passed over. */
static const char sandbox_never[] =
    /* the machine */
    "acct adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime reboot kexec_load "
    "kexec_file_load init_module finit_module delete_module ioperm iopl swapon swapoff sethostname setdomainname "
    "syslog quotactl quotactl_fd vhangup uselib nfsservctl modify_ldt vm86 vm86old lookup_dcookie "
    /* other roots, mounts and namespaces */
    "chroot pivot_root mount umount umount2 fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr setns "
    "unshare open_by_handle_at name_to_handle_at mknod mknodat "
    /* large parts of the kernel that have been its weak ones */
    "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init add_key "
    "request_key keyctl personality kcmp memfd_secret remap_file_pages process_madvise migrate_pages move_pages "
    "pidfd_getfd "
#ifndef __SANITIZE_ADDRESS__ /* a leak checker looks into its own threads from without */
    "ptrace process_vm_readv process_vm_writev "
#endif
    ;

static const char sandbox_starts[] = "execve execveat fork vfork ";

/* Beside these four no family is opened. The last one tells the resolver which addresses the machine has. */
static const int sandbox_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

static int sandbox_refuse(scmp_filter_ctx f, const char *names)
{
    int rc = 0;
    for (const char *end; rc == 0 && (end = strchr(names, ' ')) != NULL; names = end + 1) {
        char name[SANDBOX_NAME_MAX];
        snprintf(name, sizeof name, "%.*s", (int)(end - names), names);
        int call = seccomp_syscall_resolve_name(name);
        if (call >= 0)
            rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), call, 0);
    }
    return rc;
}

/* Refused where `bits` are all set in the argument. */
static int sandbox_refuse_bits(scmp_filter_ctx f, int call, unsigned argument, unsigned bits)
{
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), call, 1, SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, bits, bits));
}

static int sandbox_refuse_sockets(scmp_filter_ctx f, enum scmp_compare how, scmp_datum_t family)
{
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_CMP(0, how, family, 0));
}

static int sandbox_refuse_families(scmp_filter_ctx f)
{
    int rc = sandbox_refuse_sockets(f, SCMP_CMP_GT, AF_NETLINK);
    for (int family = 0; family <= AF_NETLINK && rc == 0; family++) {
        bool used = false;
        for (size_t i = 0; i < sizeof sandbox_families / sizeof *sandbox_families; i++)
            used |= sandbox_families[i] == family;
        if (!used)
            rc = sandbox_refuse_sockets(f, SCMP_CMP_EQ, (scmp_datum_t)family);
    }
    return rc;
}

/* Where PR_SET_MDWE isn't there yet this does most of it. */
static int sandbox_refuse_code(scmp_filter_ctx f)
{
    int rc = sandbox_refuse_bits(f, SCMP_SYS(mmap), 2, PROT_WRITE | PROT_EXEC);
    if (rc == 0)
        rc = sandbox_refuse_bits(f, SCMP_SYS(mprotect), 2, PROT_WRITE | PROT_EXEC);
    if (rc == 0)
        rc = sandbox_refuse_bits(f, SCMP_SYS(pkey_mprotect), 2, PROT_WRITE | PROT_EXEC);
    return rc == 0 ? sandbox_refuse_bits(f, SCMP_SYS(shmat), 2, SHM_EXEC) : rc;
}

static int sandbox_fill(scmp_filter_ctx f)
{
    int rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
    if (rc == 0)
        rc = sandbox_refuse(f, sandbox_never);
    for (unsigned bit = 1; bit != 0 && rc == 0; bit <<= 1)
        if ((SANDBOX_NAMESPACES & bit) != 0)
            rc = sandbox_refuse_bits(f, SCMP_SYS(clone), 0, bit);
    if (rc == 0) /* its flags are behind a pointer, where no filter sees them */
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (rc == 0) /* would type into the terminal that a node was started from */
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI));
    if (rc == 0)
        rc = sandbox_refuse_families(f);
    return rc == 0 ? sandbox_refuse_code(f) : rc;
}

static int sandbox_fill_threads(scmp_filter_ctx f)
{
    int rc = sandbox_refuse(f, sandbox_starts);
    return rc == 0 ? seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0))
                   : rc;
}

err_t sandbox_enter(sandbox_level_t level, char *err, size_t err_size)
{
    if (level == SANDBOX_PROCESS)
        prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0,
              0); /* an older kernel says EINVAL: the filter is there, too */
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    int rc = f == NULL ? -ENOMEM : level == SANDBOX_PROCESS ? sandbox_fill(f) : sandbox_fill_threads(f);
    if (rc == 0)
        rc = seccomp_load(f); /* sets no_new_privs */
    if (f != NULL)
        seccomp_release(f);
    if (rc == 0)
        return ERR_OK;
    snprintf(err, err_size, "%s", strerror(-rc));
    return ERR_REFUSED;
}
