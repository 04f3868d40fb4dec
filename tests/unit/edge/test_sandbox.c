/* What the kernel refuses after sandbox_enter, and that what a node needs still works. Each test is a process of its
 * own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/sandbox.h"

static void enter(sandbox_level_t level)
{
    char err[128] = "";
    cr_assert_eq(sandbox_enter(level, err, sizeof err), ERR_OK, "%s", err);
}

static int says(long rc)
{
    return rc >= 0 ? 0 : errno;
}

Test(sandbox, what_attacks_need_is_refused, .timeout = 60)
{
    enter(SANDBOX_PROCESS);
    cr_expect_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    cr_expect_eq(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
    cr_expect_eq(says(unshare(CLONE_NEWUTS)), EPERM);
    cr_expect_eq(says(syscall(SYS_setns, -1, 0)), EPERM);
    cr_expect_eq(says(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL)), EPERM);
    cr_expect_eq(says(syscall(SYS_chroot, "/")), EPERM);
    cr_expect_eq(says(syscall(SYS_bpf, 0, NULL, 0)), EPERM);
    cr_expect_eq(says(syscall(SYS_io_uring_setup, 1, NULL)), EPERM);
    cr_expect_eq(says(syscall(SYS_userfaultfd, 0)), EPERM);
    cr_expect_eq(says(syscall(SYS_keyctl, 0, 0, 0, 0, 0)), EPERM);
    cr_expect_eq(says(syscall(SYS_init_module, NULL, 0, "")), EPERM);
    cr_expect_eq(says(syscall(SYS_clock_settime, 0, NULL)), EPERM);
    cr_expect_eq(says(syscall(SYS_clone3, NULL, 0)), ENOSYS);
    cr_expect_eq(says(syscall(SYS_clone, CLONE_NEWNET, NULL, NULL, NULL, 0)), EPERM);
    cr_expect_eq(says(ioctl(0, TIOCSTI, "x")), EPERM);
    cr_expect_eq(says(socket(AF_PACKET, SOCK_RAW, 0)), EAFNOSUPPORT);
    cr_expect_eq(says(socket(AF_VSOCK, SOCK_STREAM, 0)), EAFNOSUPPORT);
#ifndef __SANITIZE_ADDRESS__
    cr_expect_eq(says(syscall(SYS_ptrace, 0, 0, 0, 0)), EPERM);
    cr_expect_eq(says(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)), EPERM);
#endif
}

/* Code that was written can't be run, whichever way it is tried. */
Test(sandbox, nothing_that_is_written_becomes_executable, .timeout = 60)
{
    enter(SANDBOX_PROCESS);
    cr_expect_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(p, MAP_FAILED);
    cr_expect_eq(says(mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)), EPERM);
    enum { GET_MDWE = 66 };
    if (prctl(GET_MDWE, 0, 0, 0, 0) > 0)
        cr_expect_neq(says(mprotect(p, 4096, PROT_READ | PROT_EXEC)), 0, "nor later");
}

static void *nothing(void *arg)
{
    return arg;
}

static void *threads(void *arg)
{
    enter(SANDBOX_THREADS);
    char *argv[] = {"/bin/true", NULL};
    cr_expect_eq(says(execv(argv[0], argv)), EPERM);
    cr_expect_eq(says(syscall(SYS_execveat, -1, argv[0], argv, NULL, 0)), EPERM);
    cr_expect_eq(says(fork()), EPERM);
    cr_expect_eq(says(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0)), EPERM);
    pthread_t t;
    cr_expect_eq(pthread_create(&t, NULL, nothing, NULL), 0, "threads are needed");
    pthread_join(t, NULL);
    return arg;
}

Test(sandbox, threads_start_no_programs_but_the_one_that_takes_signals_does, .timeout = 60)
{
    enter(SANDBOX_PROCESS);
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, threads, NULL), 0);
    pthread_join(t, NULL);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/true", "/bin/true", NULL);
        _exit(9);
    }
    int status = 0;
    cr_assert(child > 0 && waitpid(child, &status, 0) == child);
    cr_expect_eq(status, 0, "a new binary can be started: %x", status);
}

Test(sandbox, what_a_node_needs_works, .timeout = 60)
{
    enter(SANDBOX_PROCESS);
    enter(SANDBOX_THREADS);
    const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        int fd = socket(families[i], families[i] == AF_NETLINK ? SOCK_RAW : SOCK_STREAM, 0);
        cr_expect(fd >= 0 || errno == EAFNOSUPPORT, "%d: %d", families[i], errno);
        close(fd);
    }
    struct addrinfo *found = NULL;
    cr_expect_eq(getaddrinfo("localhost", "80", NULL, &found), 0);
    freeaddrinfo(found);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    cr_expect_neq(code, MAP_FAILED, "libraries are still loaded");
    close(fd);
    cr_expect(memfd_create("x", MFD_CLOEXEC) >= 0);
}
