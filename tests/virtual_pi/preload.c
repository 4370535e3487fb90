/* The client's half of the virtual Pi: a preloaded library that answers system calls on the files
 * and devices of a Raspberry Pi.
 *
 * Paths of the Pi (see virtual_paths) lead to the files below VPI_ROOT.  Opening a device gives a
 * real descriptor: one end of a socket pair whose other end the server ("kernel and firmware",
 * server.py) holds, so that dup, fork, inheritance, close and the death of a process count
 * references as they do for a file of the real kernel.  ioctl and mmap on such a descriptor go to
 * the server over a connection of the calling thread; memory comes back as a descriptor to map.
 *
 * A page of V3D registers is mapped without access.  Each access faults; the handler asks the server
 * for the value of a load, lets the one instruction run, and tells the server the value of a store
 * (x86-64 only, by the trap flag).
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <ucontext.h>
#include <unistd.h>

/* --- the messages: server.py has the same layouts ---------------------------------------------- */

enum { HELLO = 1, OPEN, STAT, ACCESS, IOCTL, MMAP, MUNMAP, FSTAT, LOAD, STORE, APPROVE, WRITE };

struct request {
    uint32_t op, pid;
    uint64_t a, b, c, d;
};

struct reply {
    int32_t error;
    uint32_t pad;
    int64_t a, b, c, d;
};

#define PAYLOAD (160 * 1024)

/* --- what the environment says ----------------------------------------------------------------- */

static char root[128], socket_path[108];
static unsigned fake_uid, fake_gid, n_groups, pointer_bytes;
static gid_t groups[16];
static char release[64], machine[32], version[80], user[32], in_video[64];
static int active;

static const char *const virtual_paths[] = {
    "/proc/device-tree", "/sys/firmware", "/proc/cpuinfo", "/proc/meminfo", "/proc/config.gz",
    "/proc/version", "/proc/sys/kernel/osrelease", "/proc/modules", "/proc/cmdline", "/proc/iomem",
    "/boot", "/etc/os-release", "/usr/lib/os-release", "/etc/rpi-issue", "/etc/debian_version",
    "/etc/udev", "/usr/lib/udev", "/lib/udev", "/run", "/var/lock", "/var/run", "/opt/vc",
    "/sys/bus/platform", "/sys/class", "/sys/kernel/debug", "/sys/module",
    "/sys/devices/platform", "/.dockerenv", "/dev/vcio", "/dev/vcio_gencmd", "/dev/vcio_crypto", "/dev/vcsm",
    "/dev/vcsm-cma", "/dev/dma_heap", "/dev/mem", "/dev/gpiomem", "/dev/kmsg", "/dev/vchiq",
    "/dev/vc-mem", "/dev/dri", "/dev/vcio2", NULL,
};

/* --- the real functions ------------------------------------------------------------------------ */

#define REAL(result, name, ...) static result (*real_##name)(__VA_ARGS__)
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(FILE *, fopen64, const char *, const char *);
REAL(int, stat64, const char *, struct stat64 *);
REAL(int, lstat64, const char *, struct stat64 *);
REAL(int, fstat64, int, struct stat64 *);
REAL(int, fstatat64, int, const char *, struct stat64 *, int);
REAL(int, statx, int, const char *, int, unsigned, struct statx *);
REAL(int, access, const char *, int);
REAL(int, faccessat, int, const char *, int, int);
REAL(ssize_t, readlink, const char *, char *, size_t);
REAL(ssize_t, readlinkat, int, const char *, char *, size_t);
REAL(DIR *, opendir, const char *);
REAL(int, mkdir, const char *, mode_t);
REAL(int, unlink, const char *);
REAL(int, chmod, const char *, mode_t);
REAL(int, ioctl, int, unsigned long, ...);
REAL(void *, mmap64, void *, size_t, int, int, int, off64_t);
REAL(int, munmap, void *, size_t);
REAL(off64_t, lseek64, int, off64_t, int);
REAL(ssize_t, write, int, const void *, size_t);
REAL(int, flock, int, int);
REAL(int, fcntl64, int, int, ...);
REAL(pid_t, fork, void);
REAL(uid_t, getuid, void);
REAL(uid_t, geteuid, void);
REAL(gid_t, getgid, void);
REAL(gid_t, getegid, void);
REAL(int, getgroups, int, gid_t *);
REAL(int, uname, struct utsname *);
REAL(int, getpwuid_r, uid_t, struct passwd *, char *, size_t, struct passwd **);
REAL(int, getgrnam_r, const char *, struct group *, char *, size_t, struct group **);
REAL(int, sigaction, int, const struct sigaction *, struct sigaction *);

static void after_fork(void);

static unsigned number(const char *name)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

static void word(char *to, size_t size, const char *name)
{
    const char *text = getenv(name);
    snprintf(to, size, "%s", text ? text : "");
}

__attribute__((constructor)) static void start(void)
{
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)
    FIND(open64), FIND(openat64), FIND(fopen64), FIND(stat64), FIND(lstat64), FIND(fstat64);
    FIND(fstatat64), FIND(statx), FIND(access), FIND(faccessat), FIND(readlink), FIND(readlinkat);
    FIND(opendir), FIND(mkdir), FIND(unlink), FIND(chmod), FIND(ioctl), FIND(mmap64), FIND(munmap);
    FIND(lseek64), FIND(write), FIND(flock), FIND(fcntl64), FIND(fork), FIND(getuid), FIND(geteuid);
    FIND(getgid), FIND(getegid), FIND(getgroups), FIND(uname), FIND(sigaction);
    FIND(getpwuid_r), FIND(getgrnam_r);
    word(root, sizeof root, "VPI_ROOT");
    word(socket_path, sizeof socket_path, "VPI_SOCKET");
    word(release, sizeof release, "VPI_RELEASE");
    word(machine, sizeof machine, "VPI_MACHINE");
    word(version, sizeof version, "VPI_VERSION");
    word(user, sizeof user, "VPI_USER");
    word(in_video, sizeof in_video, "VPI_IN_VIDEO");
    fake_uid = number("VPI_UID");
    fake_gid = number("VPI_GID");
    pointer_bytes = number("VPI_POINTER");
    const char *text = getenv("VPI_GROUPS");
    for (char *end = (char *)text; text && *text && n_groups < 16; text = *end ? end + 1 : end)
        groups[n_groups++] = (gid_t)strtoul(text, &end, 10);
    active = root[0] && socket_path[0];
    pthread_atfork(NULL, NULL, after_fork);
}

/* Other libraries call in before our constructor ran. */
static void ready(void)
{
    if (!real_open64)
        start();
}

/* --- the connection of a thread ---------------------------------------------------------------- */

#define CONNECTIONS 256
static int connections[CONNECTIONS];
static pid_t connections_of;
static __thread int connection = -1;
static pthread_key_t at_thread_end;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void forget(int fd)
{
    for (int i = 0; i < CONNECTIONS; i++)
        __sync_bool_compare_and_swap(&connections[i], fd, 0);
    close(fd);
}

static void thread_end(void *value)
{
    forget((int)(intptr_t)value);
}

static void make_key(void)
{
    pthread_key_create(&at_thread_end, thread_end);
}

static void lost(const char *what)
{
    fprintf(stderr, "virtual Pi: %s: %s\n", what, strerror(errno));
    _exit(120);
}

static int exchange(int fd, struct request *ask, const void *out, size_t size, struct reply *answer,
                    void *in, size_t room, int *passed, int cloexec)
{
    struct iovec parts[2] = {{ask, sizeof *ask}, {(void *)out, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = size ? 2 : 1};
    ssize_t n;
    ask->pid = (uint32_t)getpid();
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EFAULT)
        return -EFAULT;
    if (n < 0)
        lost("no way to the server");
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec back[2] = {{answer, sizeof *answer}, {in, room}};
    struct msghdr reply = {.msg_iov = back, .msg_iovlen = room ? 2 : 1, .msg_control = control,
                           .msg_controllen = sizeof control};
    /* The kernel's own wait for the firmware cannot be interrupted either. */
    do
        n = recvmsg(fd, &reply, cloexec ? MSG_CMSG_CLOEXEC : 0);
    while (n < 0 && errno == EINTR);
    if (n < (ssize_t)sizeof *answer)
        lost("the server went away");
    struct cmsghdr *head = CMSG_FIRSTHDR(&reply);
    if (passed)
        *passed = -1;
    if (head && head->cmsg_type == SCM_RIGHTS) {
        int got;
        memcpy(&got, CMSG_DATA(head), sizeof got);
        if (passed)
            *passed = got;
        else
            close(got);
    }
    return answer->error ? -answer->error : (int)(n - (ssize_t)sizeof *answer);
}

static void connect_thread(pid_t parent)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), high;
    int size = 2 * PAYLOAD;
    snprintf(to.sun_path, sizeof to.sun_path, "%s", socket_path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        lost("cannot connect");
    high = real_fcntl64(fd, F_DUPFD_CLOEXEC, 700);
    if (high >= 0) {
        close(fd);
        fd = high;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    connection = fd;
    connections_of = getpid();
    for (int i = 0; i < CONNECTIONS; i++)
        if (__sync_bool_compare_and_swap(&connections[i], 0, fd))
            break;
    pthread_once(&key_once, make_key);
    pthread_setspecific(at_thread_end, (void *)(intptr_t)fd);
    struct request ask = {.op = HELLO, .a = (uint64_t)parent,
                          .b = pointer_bytes ? pointer_bytes : sizeof(void *)};
    struct reply answer;
    exchange(fd, &ask, NULL, 0, &answer, NULL, 0, NULL, 1);
}

static void after_fork(void)
{
    if (!active || !connections_of)
        return;
    for (int i = 0; i < CONNECTIONS; i++)
        if (connections[i]) {
            close(connections[i]);
            connections[i] = 0;
        }
    pid_t parent = connections_of;
    connection = -1;
    connect_thread(parent);
}

static int call(struct request *ask, const void *out, size_t size, struct reply *answer, void *in,
                size_t room, int *passed, int cloexec)
{
    int kept = errno;
    if (connection < 0)
        connect_thread(0);
    int result = exchange(connection, ask, out, size, answer, in, room, passed, cloexec);
    errno = kept;
    return result;
}

static int failed(int result)
{
    errno = -result;
    return -1;
}

/* --- paths ------------------------------------------------------------------------------------- */

static int below(const char *path, const char *head)
{
    size_t n = strlen(head);
    return !strncmp(path, head, n) && (path[n] == 0 || path[n] == '/');
}

/* The path of the Pi's file in this machine, or NULL if the path is not the Pi's. */
static const char *there(const char *path, char *room)
{
    ready();
    if (!active || !path || path[0] != '/' || !strncmp(path, root, strlen(root)))
        return NULL;
    int found = !strncmp(path, "/dev/udmabuf", 12) || !strncmp(path, "/dev/gpiomem", 12);
    for (int i = 0; !found && virtual_paths[i]; i++)
        found = below(path, virtual_paths[i]);
    if (!found)
        return NULL;
    snprintf(room, 4096, "%s%s", root, path);
    return room;
}

static int vpi_open(int dir, const char *path, int flags, mode_t mode)
{
    char room[4096];
    const char *real = dir == AT_FDCWD || (path && path[0] == '/') ? there(path, room) : NULL;
    if (!real)
        return real_openat64(dir, path, flags, mode);
    struct request ask = {.op = OPEN, .a = (uint64_t)flags};
    struct reply answer;
    int fd, got = call(&ask, path, strlen(path) + 1, &answer, NULL, 0, &fd, flags & O_CLOEXEC);
    if (got < 0)
        return failed(got);
    return fd >= 0 ? fd : real_openat64(AT_FDCWD, real, flags, mode);
}

#define MODE_OF(flags, last)                                     \
    mode_t mode = 0;                                             \
    if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {      \
        va_list rest;                                            \
        va_start(rest, last);                                    \
        mode = va_arg(rest, mode_t);                             \
        va_end(rest);                                            \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return vpi_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return vpi_open(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return vpi_open(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return vpi_open(dir, path, flags | O_LARGEFILE, mode);
}

int __open_2(const char *path, int flags) { return vpi_open(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return vpi_open(AT_FDCWD, path, flags, 0); }
int __openat_2(int dir, const char *path, int flags) { return vpi_open(dir, path, flags, 0); }
int __openat64_2(int dir, const char *path, int flags) { return vpi_open(dir, path, flags, 0); }

static FILE *vpi_fopen(const char *path, const char *mode)
{
    char room[4096];
    if (!there(path, room))
        return real_fopen64(path, mode);
    int flags = mode[0] == 'r' ? O_RDONLY : O_WRONLY | O_CREAT | (mode[0] == 'a' ? O_APPEND : O_TRUNC);
    if (strchr(mode, '+'))
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    int fd = vpi_open(AT_FDCWD, path, flags | (strchr(mode, 'e') ? O_CLOEXEC : 0), 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}

FILE *fopen(const char *path, const char *mode) { return vpi_fopen(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return vpi_fopen(path, mode); }

/* --- what kind of file ------------------------------------------------------------------------- */

/* The Pi's mode, owner and device number, if the server has an opinion. */
static void dress(int got, const struct reply *answer, struct stat64 *s)
{
    if (got < 0 || !answer->a)
        return;
    s->st_mode = (mode_t)answer->a;
    s->st_uid = (uid_t)(answer->b >> 32);
    s->st_gid = (gid_t)answer->b;
    s->st_rdev = (dev_t)answer->c;
    s->st_size = answer->d;
}

static int vpi_stat(const char *path, struct stat64 *s, int flags)
{
    char room[4096];
    const char *real = there(path, room);
    if (!real)
        return real_fstatat64(AT_FDCWD, path, s, flags);
    int result = real_fstatat64(AT_FDCWD, real, s, flags);
    if (!result && !S_ISLNK(s->st_mode) && !S_ISDIR(s->st_mode)) {
        struct request ask = {.op = STAT};
        struct reply answer;
        dress(call(&ask, path, strlen(path) + 1, &answer, NULL, 0, NULL, 1), &answer, s);
    }
    return result;
}

/* The inode of a descriptor that may be a device of the Pi, else 0. */
static uint64_t ours(int fd)
{
    struct stat64 s;
    int type = 0;
    socklen_t size = sizeof type;
    ready();
    if (!active || real_fstat64(fd, &s) < 0 || !S_ISSOCK(s.st_mode))
        return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
        return 0;
    return s.st_ino;
}

static int vpi_fstat(int fd, struct stat64 *s)
{
    ready();
    int kept = errno;
    uint64_t ino = ours(fd);
    errno = kept;
    int result = real_fstat64(fd, s);
    if (!result && ino) {
        struct request ask = {.op = FSTAT, .a = ino};
        struct reply answer;
        dress(call(&ask, NULL, 0, &answer, NULL, 0, NULL, 1), &answer, s);
    }
    return result;
}

int stat(const char *path, struct stat *s) { return vpi_stat(path, (struct stat64 *)s, 0); }
int stat64(const char *path, struct stat64 *s) { return vpi_stat(path, s, 0); }
int lstat(const char *path, struct stat *s)
{
    return vpi_stat(path, (struct stat64 *)s, AT_SYMLINK_NOFOLLOW);
}
int lstat64(const char *path, struct stat64 *s) { return vpi_stat(path, s, AT_SYMLINK_NOFOLLOW); }
int fstat(int fd, struct stat *s) { return vpi_fstat(fd, (struct stat64 *)s); }
int fstat64(int fd, struct stat64 *s) { return vpi_fstat(fd, s); }

static int vpi_fstatat(int dir, const char *path, struct stat64 *s, int flags)
{
    ready();
    if (path && path[0] == '/')
        return vpi_stat(path, s, flags);
    if ((flags & AT_EMPTY_PATH) && (!path || !path[0]))
        return vpi_fstat(dir, s);
    return real_fstatat64(dir, path, s, flags);
}

int fstatat(int dir, const char *path, struct stat *s, int flags)
{
    return vpi_fstatat(dir, path, (struct stat64 *)s, flags);
}
int fstatat64(int dir, const char *path, struct stat64 *s, int flags)
{
    return vpi_fstatat(dir, path, s, flags);
}
/* Before glibc 2.33 programs called these. */
int __xstat(int v, const char *path, struct stat *s) { return (void)v, stat(path, s); }
int __xstat64(int v, const char *path, struct stat64 *s) { return (void)v, stat64(path, s); }
int __lxstat(int v, const char *path, struct stat *s) { return (void)v, lstat(path, s); }
int __lxstat64(int v, const char *path, struct stat64 *s) { return (void)v, lstat64(path, s); }
int __fxstat(int v, int fd, struct stat *s) { return (void)v, fstat(fd, s); }
int __fxstat64(int v, int fd, struct stat64 *s) { return (void)v, fstat64(fd, s); }
int __fxstatat(int v, int dir, const char *path, struct stat *s, int flags)
{
    return (void)v, fstatat(dir, path, s, flags);
}
int __fxstatat64(int v, int dir, const char *path, struct stat64 *s, int flags)
{
    return (void)v, fstatat64(dir, path, s, flags);
}

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *x)
{
    char room[4096];
    struct stat64 s;
    const char *real = there(path, room);
    if (!real)
        return real_statx(dir, path, flags, mask, x);
    int result = real_statx(AT_FDCWD, real, flags, mask, x);
    if (!result && !vpi_stat(path, &s, flags & AT_SYMLINK_NOFOLLOW)) {
        x->stx_mode = (uint16_t)s.st_mode;
        x->stx_uid = s.st_uid;
        x->stx_gid = s.st_gid;
        x->stx_rdev_major = major(s.st_rdev);
        x->stx_rdev_minor = minor(s.st_rdev);
        x->stx_size = (uint64_t)s.st_size;
    }
    return result;
}

static int vpi_access(const char *path, int how)
{
    char room[4096];
    const char *real = there(path, room);
    if (!real)
        return real_access(path, how);
    if (real_access(real, F_OK) < 0)
        return -1;
    struct request ask = {.op = ACCESS, .a = (uint64_t)how};
    struct reply answer;
    int got = call(&ask, path, strlen(path) + 1, &answer, NULL, 0, NULL, 1);
    return got < 0 ? failed(got) : 0;
}

int access(const char *path, int how) { return vpi_access(path, how); }
int euidaccess(const char *path, int how) { return vpi_access(path, how); }
int eaccess(const char *path, int how) { return vpi_access(path, how); }
int faccessat(int dir, const char *path, int how, int flags)
{
    ready();
    return path[0] == '/' ? vpi_access(path, how) : real_faccessat(dir, path, how, flags);
}

#define MOVED(path) char room[4096]; const char *real = there(path, room); if (real) path = real

ssize_t readlink(const char *path, char *to, size_t size)
{
    MOVED(path);
    return real_readlink(path, to, size);
}

ssize_t readlinkat(int dir, const char *path, char *to, size_t size)
{
    MOVED(path);
    return real_readlinkat(dir, path, to, size);
}

int mkdir(const char *path, mode_t mode)
{
    MOVED(path);
    return real_mkdir(path, mode);
}

int unlink(const char *path)
{
    MOVED(path);
    return real_unlink(path);
}

int chmod(const char *path, mode_t mode)
{
    MOVED(path);
    return real_chmod(path, mode);
}

DIR *opendir(const char *path)
{
    char whole[4096];
    MOVED(path);
    if (active && path && !strcmp(path, "/dev")) {
        snprintf(whole, sizeof whole, "%s/dev", root);
        path = whole;
    }
    return real_opendir(path);
}

/* --- ioctl ------------------------------------------------------------------------------------- */

#define VCIO_MAGIC 100

static int vpi_ioctl(int fd, uint64_t ino, unsigned long number, void *argument)
{
    static __thread char buffer[PAYLOAD];
    struct request ask = {.op = IOCTL, .a = ino, .b = number};
    struct reply answer;
    size_t size = _IOC_SIZE(number);
    int passed = -1;
    (void)fd;
    if (_IOC_TYPE(number) == VCIO_MAGIC && _IOC_NR(number) == 0) {
        /* The argument is the property buffer itself; its first word is its size. */
        uint32_t bytes;
        if ((uintptr_t)argument < 4096)
            return failed(-EFAULT);
        memcpy(&bytes, argument, sizeof bytes);
        size = bytes > PAYLOAD ? 4 : bytes < 4 ? 4 : bytes;
    }
    if (size && (uintptr_t)argument < 4096)
        return failed(-EFAULT);
    if (_IOC_TYPE(number) == 'J' && _IOC_NR(number) == 0x5B) {
        int32_t inner;
        memcpy(&inner, argument, sizeof inner);
        ask.c = ours(inner);
        ask.d = ask.c || real_fcntl64(inner, F_GETFD) >= 0; /* whether the descriptor is open */
    }
    int got = call(&ask, argument, size, &answer, buffer, sizeof buffer, &passed, 1);
    if (got < 0)
        return failed(got);
    if (passed >= 0) {
        int32_t given = passed;
        if (answer.b & 1) /* not close-on-exec */
            real_fcntl64(passed, F_SETFD, 0);
        memcpy(buffer + answer.a, &given, sizeof given);
    }
    memcpy(argument, buffer, (size_t)got);
    return 0;
}

int ioctl(int fd, unsigned long number, ...)
{
    va_list rest;
    va_start(rest, number);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    ready();
    number &= 0xFFFFFFFF;
    int kept = errno;
    uint64_t ino = number == FIOCLEX || number == FIONCLEX || number == FIONBIO ? 0 : ours(fd);
    errno = kept;
    return ino ? vpi_ioctl(fd, ino, number, argument) : real_ioctl(fd, number, argument);
}

/* --- memory ------------------------------------------------------------------------------------ */

#define MAPPINGS 4096
static struct mapping {
    char *address;
    size_t size;
    int64_t token;
    int64_t registers; /* physical address of a page of registers, or 0 */
} mappings[MAPPINGS];
static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;

static void catch_accesses(void);

static void *vpi_mmap(void *address, size_t size, int prot, int flags, int fd, off64_t offset)
{
    ready();
    uint64_t ino = (flags & MAP_ANONYMOUS) || fd < 0 ? 0 : ours(fd);
    if (!ino)
        return real_mmap64(address, size, prot, flags, fd, offset);
    struct request ask = {.op = MMAP, .a = ino, .b = (uint64_t)offset, .c = size,
                          .d = (uint64_t)prot | (uint64_t)flags << 32};
    struct reply answer;
    int passed, got = call(&ask, NULL, 0, &answer, NULL, 0, &passed, 1);
    if (got < 0)
        return failed(got), MAP_FAILED;
    char *at;
    if (answer.a) {
        at = real_mmap64(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        catch_accesses();
    } else {
        at = real_mmap64(address, size, prot, flags, passed, answer.b);
    }
    int kept = errno;
    if (passed >= 0)
        close(passed);
    if (at == MAP_FAILED)
        return errno = kept, MAP_FAILED;
    pthread_mutex_lock(&mappings_lock);
    for (int i = 0; i < MAPPINGS; i++)
        if (!mappings[i].address) {
            mappings[i] = (struct mapping){at, size, answer.c, answer.a};
            break;
        }
    pthread_mutex_unlock(&mappings_lock);
    return at;
}

void *mmap(void *a, size_t n, int prot, int flags, int fd, off_t offset)
{
    return vpi_mmap(a, n, prot, flags, fd, offset);
}
void *mmap64(void *a, size_t n, int prot, int flags, int fd, off64_t offset)
{
    return vpi_mmap(a, n, prot, flags, fd, offset);
}

int munmap(void *address, size_t size)
{
    ready();
    int64_t token = 0;
    if (active) {
        pthread_mutex_lock(&mappings_lock);
        for (int i = 0; i < MAPPINGS; i++)
            if (mappings[i].address == address && mappings[i].address) {
                token = mappings[i].token;
                mappings[i].address = NULL;
                break;
            }
        pthread_mutex_unlock(&mappings_lock);
    }
    int result = real_munmap(address, size);
    if (token) {
        struct request ask = {.op = MUNMAP, .a = (uint64_t)token};
        struct reply answer;
        call(&ask, NULL, 0, &answer, NULL, 0, NULL, 1);
    }
    return result;
}

static off64_t vpi_seek(int fd, off64_t offset, int whence)
{
    ready();
    int kept = errno;
    uint64_t ino = ours(fd);
    errno = kept;
    if (!ino)
        return real_lseek64(fd, offset, whence);
    struct stat64 s;
    vpi_fstat(fd, &s);
    if (s.st_mode & S_IFMT) /* a device; a dma-buf has no type */
        return failed(-ESPIPE);
    if (offset || (whence != SEEK_SET && whence != SEEK_END))
        return failed(-EINVAL);
    return whence == SEEK_END ? s.st_size : 0;
}

off_t lseek(int fd, off_t offset, int whence) { return vpi_seek(fd, offset, whence); }
off64_t lseek64(int fd, off64_t offset, int whence) { return vpi_seek(fd, offset, whence); }

/* A write to an attribute of a driver; devices refuse it. */
ssize_t write(int fd, const void *from, size_t size)
{
    ready();
    int kept = errno;
    uint64_t ino = ours(fd);
    errno = kept;
    if (!ino)
        return real_write(fd, from, size);
    struct request ask = {.op = WRITE, .a = ino};
    struct reply answer;
    int got = call(&ask, from, size, &answer, NULL, 0, NULL, 1);
    return got < 0 ? failed(got) : (ssize_t)answer.a;
}

/* --- registers --------------------------------------------------------------------------------- */

static struct sigaction others[2]; /* what the program wants with SIGSEGV and SIGTRAP */
static volatile int catching;

#if defined(__x86_64__)
#define TRAP_FLAG 0x100
#define GLASS 4096

static __thread struct {
    int active, store, tries, low, high;
    gregset_t registers;
    char *page;
    size_t offset;
    int64_t physical;
    sigset_t mask;
    unsigned char before[64];
} step;

static void pass_on(int which, int signal, siginfo_t *info, void *context)
{
    struct sigaction *other = &others[which];
    if (other->sa_flags & SA_SIGINFO)
        other->sa_sigaction(signal, info, context);
    else if (other->sa_handler == SIG_DFL || other->sa_handler == SIG_IGN)
        real_sigaction(signal, other, NULL);
    else
        other->sa_handler(signal);
}

/* A pattern shows which bytes a store writes. */
static void fill(void)
{
    static uint32_t seed = 0x9E3779B9;
    size_t first = step.offset & ~(size_t)31;
    for (int i = 0; i < 64 && first + i < GLASS; i++) {
        seed = seed * 1664525 + 1013904223;
        step.page[first + i] = (char)(step.before[i] = (unsigned char)(seed >> 24));
    }
}

static void touched(int signal, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;
    char *at = info->si_addr;
    struct mapping *found = NULL;
    for (int i = 0; i < MAPPINGS; i++)
        if (mappings[i].registers && mappings[i].address && at >= mappings[i].address &&
            at < mappings[i].address + mappings[i].size)
            found = &mappings[i];
    if (!found) {
        pass_on(0, signal, info, raw);
        return;
    }
    step.page = (char *)((uintptr_t)at & ~(uintptr_t)(GLASS - 1));
    step.offset = (size_t)(at - step.page);
    step.physical = found->registers + (step.page - found->address);
    step.store = context->uc_mcontext.gregs[REG_ERR] & 2 ? 1 : 0;
    mprotect(step.page, GLASS, PROT_READ | PROT_WRITE);
    if (step.store) {
        memcpy(step.registers, context->uc_mcontext.gregs, sizeof step.registers);
        step.tries = step.high = 0;
        step.low = 64;
        fill();
    } else {
        struct request ask = {.op = LOAD, .a = (uint64_t)step.physical + (step.offset & ~3ul),
                              .b = step.offset & 3};
        struct reply answer;
        call(&ask, NULL, 0, &answer, NULL, 0, NULL, 1);
        uint32_t value = (uint32_t)answer.a;
        memset(step.page, 0x5A, GLASS);
        memcpy(step.page + (step.offset & ~3ul), &value, sizeof value);
    }
    step.active = 1;
    step.mask = context->uc_sigmask;
    sigfillset(&context->uc_sigmask);
    sigdelset(&context->uc_sigmask, SIGTRAP);
    sigdelset(&context->uc_sigmask, SIGSEGV);
    context->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void stepped(int signal, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;
    if (!step.active) {
        pass_on(1, signal, info, raw);
        return;
    }
    if (step.store) {
        size_t first = step.offset & ~(size_t)31;
        for (int i = 0; i < 64 && first + i < GLASS; i++)
            if ((unsigned char)step.page[first + i] != step.before[i]) {
                step.low = step.low < i ? step.low : i;
                step.high = step.high > i + 1 ? step.high : i + 1;
            }
        /* A byte that is as in the pattern looks unwritten: again with another one. */
        if (step.high - step.low < 4 && ++step.tries < 4) {
            memcpy(context->uc_mcontext.gregs, step.registers, sizeof step.registers);
            context->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
            fill();
            return;
        }
    }
    step.active = 0;
    context->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    context->uc_sigmask = step.mask;
    if (step.store) {
        uint32_t value;
        memcpy(&value, step.page + (step.offset & ~3ul), sizeof value);
        struct request ask = {.op = STORE, .a = (uint64_t)step.physical + (step.offset & ~3ul),
                              .b = value, .c = (uint64_t)(step.high - step.low),
                              .d = step.offset & 3};
        struct reply answer;
        mprotect(step.page, GLASS, PROT_NONE);
        call(&ask, NULL, 0, &answer, NULL, 0, NULL, 1);
    } else {
        mprotect(step.page, GLASS, PROT_NONE);
    }
}

static void catch_accesses(void)
{
    if (catching)
        return;
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&ours.sa_mask);
    ours.sa_sigaction = touched;
    real_sigaction(SIGSEGV, &ours, &others[0]);
    ours.sa_sigaction = stepped;
    real_sigaction(SIGTRAP, &ours, &others[1]);
    catching = 1;
}
#else
static void catch_accesses(void)
{
    lost("registers need x86-64");
}
#endif

int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
    ready();
    if (!catching || (signal != SIGSEGV && signal != SIGTRAP))
        return real_sigaction(signal, new, old);
    struct sigaction *mine = &others[signal == SIGTRAP];
    if (old)
        *old = *mine;
    if (new)
        *mine = *new;
    return 0;
}

/* --- locks, processes, names ------------------------------------------------------------------- */

/* Ask whether a call that this machine's kernel answers may go ahead. */
static int approved(const char *name)
{
    struct request ask = {.op = APPROVE};
    struct reply answer;
    return call(&ask, name, strlen(name) + 1, &answer, NULL, 0, NULL, 1);
}

int flock(int fd, int how)
{
    ready();
    int got = active ? approved(how & LOCK_UN ? "flock(unlock)" : "flock") : 0;
    return got < 0 ? failed(got) : real_flock(fd, how);
}

static int vpi_fcntl(int fd, int command, void *argument)
{
    ready();
    int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
                command == F_OFD_SETLKW;
    int got = active && locks ? approved("lockf") : 0;
    return got < 0 ? failed(got) : real_fcntl64(fd, command, argument);
}

int fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return vpi_fcntl(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return vpi_fcntl(fd, command, argument);
}

pid_t fork(void)
{
    ready();
    int got = active && connections_of ? approved("fork") : 0;
    return got < 0 ? failed(got) : real_fork();
}

uid_t getuid(void) { return ready(), active ? fake_uid : real_getuid(); }
uid_t geteuid(void) { return ready(), active ? fake_uid : real_geteuid(); }
gid_t getgid(void) { return ready(), active ? fake_gid : real_getgid(); }
gid_t getegid(void) { return ready(), active ? fake_gid : real_getegid(); }

int getgroups(int size, gid_t *list)
{
    ready();
    if (!active)
        return real_getgroups(size, list);
    if (size && size < (int)n_groups)
        return failed(-EINVAL);
    for (unsigned i = 0; size && i < n_groups; i++)
        list[i] = groups[i];
    return (int)n_groups;
}

int uname(struct utsname *name)
{
    ready();
    int result = real_uname(name);
    if (active && !result) {
        snprintf(name->nodename, sizeof name->nodename, "raspberrypi");
        snprintf(name->release, sizeof name->release, "%s", release);
        snprintf(name->machine, sizeof name->machine, "%s", machine);
        snprintf(name->version, sizeof name->version, "%.64s", version);
    }
    return result;
}

/* The user's name, and who is entered in the group video (one name). */
int getpwuid_r(uid_t uid, struct passwd *to, char *room, size_t size, struct passwd **found)
{
    ready();
    int result = real_getpwuid_r(active && uid == fake_uid ? 0 : uid, to, room, size, found);
    if (active && uid == fake_uid && !result && *found) {
        to->pw_name = user;
        to->pw_uid = uid;
        to->pw_gid = fake_gid;
    }
    return result;
}

int getgrnam_r(const char *name, struct group *to, char *room, size_t size, struct group **found)
{
    static char *members[2];
    ready();
    int result = real_getgrnam_r(name, to, room, size, found);
    if (active && !result && *found && !strcmp(name, "video")) {
        members[0] = in_video[0] ? in_video : NULL;
        to->gr_mem = members;
    }
    return result;
}
