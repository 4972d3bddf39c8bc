"""Which system calls a program may make: an allowlist, by name, for every architecture.

It began as the calls that a broad corpus of numpy, scipy and multiprocessing programs made under strace, with the close
relatives of each. A call that is in no list fails with EPERM where the table knows it, else with ENOSYS, so that
libraries fall back as on an older kernel.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Final

from sandbox import linux


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FILES: Final = _names(
    """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close
    close_range lseek stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 unlink unlinkat
    link linkat symlink symlinkat truncate ftruncate fallocate fsync fdatasync sync_file_range fadvise64 readahead
    dup dup2 dup3 umask copy_file_range sendfile getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    """
)
MEMORY: Final = _names(
    """
    brk munmap mremap mprotect madvise msync mlock mlock2 munlock mbind get_mempolicy membarrier
    """
)
PROCESSES: Final = _names(
    """
    execve execveat exit exit_group wait4 waitid getpid getppid gettid getuid geteuid getgid getegid getresuid
    getresgid getgroups getpgid getpgrp getsid getpriority getrlimit setrlimit getrusage times sysinfo uname capget
    getcpu sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_getattr sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval set_tid_address set_robust_list get_robust_list rseq arch_prctl
    futex futex_waitv restart_syscall getrandom
    """
)
TIME: Final = _names(
    """
    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time getitimer setitimer alarm pause
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime
    timerfd_gettime
    """
)
SIGNALS: Final = _names(
    """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack signalfd
    signalfd4
    """
)
WAITING: Final = _names(
    """
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd
    eventfd2 pipe pipe2
    """
)
#: On sockets that `socketpair` made; `socket` and `setsockopt` have rules of their own.
SOCKETS: Final = _names(
    """
    bind listen accept accept4 connect getsockname getpeername getsockopt sendto recvfrom sendmsg recvmsg
    sendmmsg recvmmsg shutdown
    """
)
FORKS: Final = ("fork", "vfork")
#: Sent to others; harmless where a pid namespace or Landlock keeps them within the program.
KILLS: Final = _names(
    """
    kill tkill tgkill pidfd_open pidfd_send_signal
    """
)
#: Changing the file system by path; writing to what is open already stays possible.
CHANGES: Final = _names(
    """
    creat mkdir mkdirat rmdir rename renameat renameat2 unlink unlinkat link linkat symlink symlinkat truncate openat2
    """
)
#: Leaving the process group, by which a tree without a pid namespace is killed.
GROUPS: Final = ("setsid", "setpgid")
#: Landlock does not govern these (landlock(7), "Current limitations"), so they need a private file system.
METADATA: Final = _names(
    """
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat
    """
)
#: No honest program makes these: the process is killed.
HOSTILE: Final = _names(
    """
    ptrace process_vm_readv process_vm_writev bpf mount umount2 pivot_root chroot unshare setns kexec_load
    kexec_file_load init_module finit_module delete_module perf_event_open userfaultfd open_by_handle_at
    fanotify_init swapon swapoff reboot settimeofday clock_settime acct quotactl quotactl_fd move_mount open_tree
    fsopen fsconfig fsmount fspick mount_setattr pidfd_getfd kcmp syslog iopl ioperm modify_ldt vhangup keyctl
    add_key request_key
    """
)
#: Known, but better thought absent: glibc and others have another way then.
ABSENT: Final = _names(
    """
    io_uring_setup io_uring_enter io_uring_register clone3 memfd_secret
    """
)

NEW_NAMESPACES: Final = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWCGROUP
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUSER
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
)
#: Terminal test, bytes to read, non-blocking and close-on-exec flags, window size (asm-generic/ioctls.h); above all not
#: TIOCSTI and TIOCLINUX, which type into a terminal.
_IOCTLS: Final = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451, 0x5413)
#: Descriptors and their flags, size of a pipe; above all no locks, leases and signals, which reach other programs
#: through the files that all may read.
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030, 1031, 1032)
_PRCTLS: Final = (
    linux.PR_GET_PDEATHSIG,
    linux.PR_GET_DUMPABLE,
    linux.PR_SET_NAME,
    linux.PR_GET_NAME,
    linux.PR_GET_SECCOMP,
    linux.PR_CAPBSET_READ,
    linux.PR_GET_NO_NEW_PRIVS,
    linux.PR_SET_VMA,
)
_SOCKET_TYPE_MASK: Final = 0xF
#: Above all no larger buffers: what lies in a socket is in no process's count (asm-generic/socket.h, old and new).
_SOCKET_OPTIONS: Final = (socket.SO_REUSEADDR, socket.SO_KEEPALIVE, socket.SO_PASSCRED, 20, 21, 66, 67)
#: Bits of mmap's flags: shared, private, of no file; huge pages from the machine's store, which no count knows either
#: (asm-generic/mman-common.h, asm-generic/hugetlb_encode.h).
_MAP_MASK: Final = 0x4_0023
#: All but shared memory of no file: its pages outlive their mapping, or leave it (MADV_DONTNEED), and then are in no
#: process's count, so that without a control group nothing would bound them. Files of shared memory are in the quota.
_MAPS: Final = (0x01, 0x02, 0x03, 0x22)
#: O_TMPFILE has one more bit, which is that of O_DIRECTORY; it needs O_WRONLY or O_RDWR to work.
_OPEN_TO_CHANGE: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition on one argument of a call.

    Attributes:
        argument: Its number, from 0.
        values: The argument's low 32 bits, after `mask`, must be one of these.
        error: What the call fails with otherwise; None kills the process.
        mask: Bits that are looked at.
    """

    argument: int
    values: tuple[int, ...]
    error: int | None
    mask: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one tier allows beyond the common list.

    Attributes:
        private_files: The file system is the program's own, so metadata may change.
        read_only: No other wall keeps the program from changing files of the user's, so it may change none.
        private_processes: The pid namespace is the program's own, so process groups may change.
        unix_sockets: Nobody else can be reached by a UNIX socket.
        new_processes: Processes may be created.
        only_target: The one process that signals may go to; None where other walls bound them.
    """

    private_files: bool
    read_only: bool
    private_processes: bool
    unix_sockets: bool
    new_processes: bool
    only_target: int | None = None

    def allowed(self) -> set[str]:
        """Return the names of the calls that are allowed whatever their arguments."""
        names = {*FILES, *MEMORY, *PROCESSES, *TIME, *SIGNALS, *WAITING, *SOCKETS}
        names |= set(METADATA) if self.private_files else set()
        names |= set(GROUPS) if self.private_processes else set()
        names |= set(FORKS) if self.new_processes else set()
        names |= set(KILLS) if self.only_target is None else set()
        names -= set() if self.new_processes else {"execve", "execveat"}
        return names - set(CHANGES) if self.read_only else names

    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """Return the conditions of the calls that are allowed for some arguments."""
        families = (socket.AF_UNIX,) if self.unix_sockets else ()
        clone = [Rule(argument=0, values=(0,), error=None, mask=NEW_NAMESPACES)]
        if not self.new_processes:
            clone.append(Rule(argument=0, values=(linux.CLONE_THREAD,), error=errno.EPERM, mask=linux.CLONE_THREAD))
        rules = {
            "clone": tuple(clone),
            "mmap": (Rule(argument=3, values=_MAPS, error=errno.EPERM, mask=_MAP_MASK),),
            "ioctl": (Rule(argument=1, values=_IOCTLS, error=errno.ENOTTY),),
            "fcntl": (Rule(argument=1, values=_FCNTLS, error=errno.EPERM),),
            "prctl": (Rule(argument=0, values=_PRCTLS, error=errno.EPERM),),
            # Of another process one may neither see nor set limits.
            "prlimit64": (Rule(argument=0, values=(0,), error=errno.EPERM),),
            "socket": (Rule(argument=0, values=families, error=errno.EACCES),),
            "setsockopt": (Rule(argument=2, values=_SOCKET_OPTIONS, error=errno.EPERM),),
            # Not datagrams: their sockets may name another receiver with each message.
            "socketpair": (
                Rule(argument=0, values=(socket.AF_UNIX,), error=errno.EACCES),
                Rule(
                    argument=1,
                    values=(socket.SOCK_STREAM, socket.SOCK_SEQPACKET),
                    error=errno.EACCES,
                    mask=_SOCKET_TYPE_MASK,
                ),
            ),
        }
        if self.only_target is not None:
            target = (Rule(argument=0, values=(self.only_target,), error=errno.EPERM),)
            rules |= {"kill": target, "tgkill": target}
        if self.read_only:
            for name, argument in (("open", 1), ("openat", 2)):
                rules[name] = (Rule(argument=argument, values=(0,), error=errno.EROFS, mask=_OPEN_TO_CHANGE),)
        return rules
