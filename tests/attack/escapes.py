"""Attacks on other processes, files, the network and the kernel: rows 10 to 19, 23 to 32, 45."""

from __future__ import annotations

from attack.case import Case, tries, violation

from sandbox import Ending

CASES = (
    tries(
        10,
        "kill others",
        """
        "sentinel": lambda: os.kill(targets["sentinel"], 9),
        "controller": lambda: os.kill(targets["controller"], 9),
        "zygote": lambda: os.kill(targets["zygote"], 9),
        "group": lambda: os.killpg(targets["sentinel"], 9),
        "by pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(targets["sentinel"]), 9),
        "by thread": lambda: call(nr["tgkill"], targets["sentinel"], targets["sentinel"], 9),
        """,
    ),
    Case(
        row=10,
        name="kill the warden, and all at once",
        source=(
            "def solve(targets):\n"
            "    for pid in (os.getppid(), 1, -1):\n"
            "        tried(lambda: os.kill(pid, 9))\n"
            "    time.sleep(0.1)\n"
            "    return 'alive'\n"
        ),
        check=lambda answers: answers == ("alive",),
    ),
    violation(11, "trace the parent", "call(nr['ptrace'], 16, os.getppid(), 0, 0)"),
    violation(11, "read memory of others", "call(nr['process_vm_readv'], targets['sentinel'], 0, 0, 0, 0, 0)"),
    violation(11, "take descriptors of others", "call(nr['pidfd_getfd'], 0, 0, 0)"),
    tries(
        12,
        "look into other processes",
        """
        **{f"{who} {what}": (lambda who=who, what=what: open(f"/proc/{targets[who]}/{what}", "rb").read(1))
        for who in ("controller", "sentinel", "zygote") for what in ("environ", "mem", "maps", "cmdline")},
        **{f"{who} {what}": (lambda who=who, what=what: os.listdir(f"/proc/{targets[who]}/{what}"))
        for who in ("controller", "sentinel", "zygote") for what in ("fd", "root", "cwd", "task")},
        """,
    ),
    tries(
        12,
        "look into the warden",
        """
        **{what: (lambda what=what: open(f"/proc/{os.getppid()}/{what}", "rb").read(1))
        for what in ("environ", "mem", "maps", "auxv")},
        **{what: (lambda what=what: os.listdir(f"/proc/{os.getppid()}/{what}")) for what in ("fd", "root", "cwd")},
        """,
    ),
    Case(
        row=12,
        name="list processes",
        source="def solve(targets): return sorted(int(p) for p in os.listdir('/proc') if p.isdecimal())",
        check=lambda answers: answers == ([1, 2],),
        tiers=("full",),
    ),
    Case(
        row=13,
        name="a daemon that outlives its parent",
        source=(
            "def solve(targets):\n"
            "    if os.fork() == 0:\n"
            "        try: os.setsid()\n"
            "        except OSError: pass\n"
            "        if os.fork() == 0:\n"
            "            signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "            time.sleep(60)\n"
            "        os._exit(0)\n"
            "    os.wait()\n"
            "    return 1\n"
        ),
    ),
    Case(
        row=13,
        name="an orphan that goes on writing answers",
        endings=frozenset(Ending),
        any_fault=True,
        source=(
            "def solve(targets):\n"
            "    if os.fork() == 0:\n"
            "        if os.fork() == 0:\n"
            "            while True: os.write(3, b'junk')\n"
            "        os._exit(0)\n"
            "    os.wait()\n"
            "    os._exit(0)\n"
        ),
    ),
    tries(
        14,
        "become root",
        """
        "setuid": lambda: os.setuid(0),
        "setresuid": lambda: os.setresuid(0, 0, 0),
        "setgid": lambda: os.setgid(0),
        "setgroups": lambda: os.setgroups([0]),
        "su": su,
        """,
        before=(
            "import subprocess\n"
            "def su():\n"
            "    if subprocess.call(['/bin/su', '-c', 'true'], stdin=-3, stderr=-3): raise OSError(1, '')\n"
        ),
    ),
    Case(
        row=14,
        name="hold privileges",
        source=(
            "def solve(targets):\n"
            "    sets = (ctypes.c_uint32 * 6)()\n"
            "    libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets)\n"
            "    return [os.getuid() == 0, os.getgid() == 0, 0 in os.getgroups(), any(sets)]\n"
        ),
        check=lambda answers: answers == ([False] * 4,),
    ),
    tries(
        15,
        "read files",
        """
        "secret": lambda: open(targets["secret_file"]).read(),
        "verifier": lambda: open(targets["driver"]).read(),
        **{path: (lambda path=path: open(path).read()) for path in ("/etc/shadow", "/etc/hostname", "/proc/1/environ")},
        **{path: (lambda path=path: os.listdir(path)) for path in ("/home", "/var", "/run", "/work", "/boot")},
        "folder": lambda: os.listdir(targets["folder"]),
        """,
    ),
    tries(
        16,
        "write files",
        """
        **{path: (lambda path=path: open(path, "a").write("x")) for path in (
        targets["driver"], targets["file"], numpy.__file__, os.__file__, sys.executable,
        "/usr/x", "/usr/bin/x", "/etc/x", "/etc/passwd", "/x", "/dev/x", "/proc/x", "../x", "../../x",
        "/proc/sys/kernel/core_pattern", "/sys/kernel/x", "/proc/self/oom_score_adj/x")},
        """,
        before="import numpy",
    ),
    tries(
        17,
        "change files outside",
        """
        "by symlink": lambda: (os.symlink(targets["file"], "link"), open("link", "a").write("x")),
        "by hard link": lambda: (os.link(targets["file"], "hard"), open("hard", "a").write("x")),
        "rename": lambda: os.rename(targets["file"], targets["file"] + "2"),
        "replace": lambda: (open("mine", "w").close(), os.rename("mine", targets["file"])),
        "truncate": lambda: os.truncate(targets["file"], 0),
        "chmod": lambda: os.chmod(targets["file"], 0),
        "chown": lambda: os.chown(targets["file"], os.getuid(), os.getgid()),
        "unlink": lambda: os.unlink(targets["file"]),
        "utime": lambda: os.utime(targets["file"], (0, 0)),
        "xattr": lambda: os.setxattr(targets["file"], "user.x", b"x"),
        "mkdir": lambda: os.mkdir(targets["folder"] + "/new"),
        "fifo": lambda: os.mkfifo(targets["folder"] + "/fifo"),
        """,
    ),
    tries(
        18,
        "use descriptors from before",
        """
        **{f"fd {number}": (lambda number=number: os.fstat(number)) for number in range(4, 256)},
        **{f"beside fd {number}": (lambda number=number: os.open("..", os.O_RDONLY, dir_fd=number))
        for number in range(4)},
        """,
    ),
    Case(
        row=19,
        name="find the secret in memory and environment",
        source=(
            "import gc\n"
            "def solve(targets):\n"
            "    libc.getenv.restype = ctypes.c_char_p\n"
            "    found = [text for text in gc.get_objects() if isinstance(text, (str, bytes, dict, list))]\n"
            "    found = [repr(text)[:500] for text in found if 'ATTACK' + '_SECRET' in repr(text)[:100000]]\n"
            "    own = sys._getframe().f_code.co_consts\n"
            "    sys.stdout.write(repr(found) + repr(dict(os.environ)) + repr(libc.getenv(b'ATTACK_SECRET')))\n"
            "    try: sys.stdout.write(open('/proc/self/environ').read())\n"
            "    except OSError: pass\n"
            "    return 'ATTACK_SECRET' in os.environ or libc.getenv(b'ATTACK_SECRET') is not None\n"
        ),
        check=lambda answers: answers == (False,),
    ),
    tries(
        23,
        "make devices",
        """
        "block": lambda: os.mknod("b", 0o60600, os.makedev(8, 0)),
        "character": lambda: os.mknod("c", 0o20600, os.makedev(1, 1)),
        "fifo": lambda: os.mkfifo("f"),
        """,
    ),
    tries(
        24,
        "network",
        """
        "tcp": lambda: socket.create_connection(("127.0.0.1", targets["port"]), 1),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", targets["port"])),
        "tcp 6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        "dns": lambda: socket.getaddrinfo("example.org", 80),
        "raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
        "bluetooth": lambda: socket.socket(31, socket.SOCK_RAW, 1),
        "kernel crypto": lambda: socket.socket(38, socket.SOCK_SEQPACKET),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        """,
    ),
    tries(
        25,
        "UNIX sockets of the host",
        """
        "abstract": lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + targets["address"]),
        "by path": lambda: socket.socket(socket.AF_UNIX).connect(targets["folder"] + "/socket"),
        "datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", datagrams(targets)),
        "pair": lambda: socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b"x", datagrams(targets)),
        "pair again": lambda: socket.socketpair()[0].connect(targets["folder"] + "/socket"),
        """,
        before="def datagrams(targets): return targets['folder'] + '/datagrams'",
    ),
    tries(
        26,
        "System V objects",
        """
        "memory": lambda: call(nr["shmget"], 0, 4096, 0o1600),
        "queue": lambda: call(nr["msgget"], 0, 0o1600),
        "semaphore": lambda: call(nr["semget"], 0, 1, 0o1600),
        "message queue": lambda: call(nr["mq_open"], b"x", 0o102, 0o600, 0),
        """,
    ),
    violation(26, "keys of the kernel", "call(nr['keyctl'], 0, -3, 0)"),
    violation(27, "user namespace", "call(nr['unshare'], 0x10000000)"),
    violation(27, "clone into a namespace", "call(nr['clone'], 0x10000011, 0, 0, 0, 0)"),
    violation(27, "mount", "call(nr['mount'], b'x', b'/', b'tmpfs', 0, 0)"),
    violation(27, "chroot", "call(nr['chroot'], b'/')"),
    violation(27, "enter a namespace", "call(nr['setns'], 0, 0)"),
    violation(28, "load a BPF program", "call(nr['bpf'], 0, 0, 0)"),
    violation(28, "handle page faults", "call(nr['userfaultfd'], 0)"),
    violation(28, "count events", "call(nr['perf_event_open'], 0, 0, -1, -1, 0)"),
    violation(28, "open by handle", "call(nr['open_by_handle_at'], 0, 0, 0)"),
    violation(28, "load a module", "call(nr['init_module'], 0, 0, b'')"),
    violation(28, "set the clock", "call(nr['clock_settime'], 0, 0)"),
    violation(
        29, "a call of the x32 ABI", "call(0x40000000 + nr['getpid']) if 'fork' in nr else os.kill(os.getpid(), 31)"
    ),
    Case(
        row=29,
        name="a call of the 32-bit ABI",
        source=(
            "import mmap\n"
            "def solve(targets):\n"
            "    if 'fork' not in targets['nr']: os.kill(os.getpid(), signal.SIGSYS)\n"
            "    rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC\n"
            "    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=rights)\n"
            # mov eax, 20 (getpid); int 0x80; ret
            "    page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))\n"
            "    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n"
        ),
        endings=frozenset({Ending.VIOLATION}),
    ),
    Case(
        row=30,
        name="calls better thought absent",
        source=(
            "import threading\n"
            "def solve(targets):\n"
            "    nr = targets['nr']\n"
            "    absent = ('io_uring_setup', 'clone3', 'memfd_secret')\n"
            "    seen = [tried(lambda: call(nr[name], 0, 0, 0)) for name in absent]\n"
            "    seen.append(tried(lambda: call(2000)))\n"
            "    thread = threading.Thread(target=seen.append, args=('thread',))\n"
            "    thread.start()\n    thread.join()\n"
            "    return seen\n"
        ),
        check=lambda answers: answers == (["ENOSYS"] * 4 + ["thread"],),
    ),
    tries(
        31,
        "watch files, type into terminals",
        """
        "inotify": lambda: call(nr["inotify_init1"], 0),
        "fake input": lambda: fcntl.ioctl(0, 0x5412, b"x"),
        "terminal": lambda: open("/dev/tty", "r+b", 0),
        "pseudo-terminal": lambda: os.openpty(),
        "kernel log": lambda: open("/dev/kmsg"),
        """,
        before="import fcntl",
    ),
    Case(
        row=32,
        name="a child with other libraries",
        source=(
            "import subprocess\n"
            "def solve(targets):\n"
            "    child = 'import socket; socket.socket(socket.AF_INET)'\n"
            "    done = subprocess.run([sys.executable, '-I', '-S', '-c', child], env={'LD_PRELOAD': ''},\n"
            "                          stderr=subprocess.PIPE, text=True)\n"
            "    return 'PermissionError' in done.stderr\n"
        ),
        check=lambda answers: answers == (True,),
    ),
    tries(
        45,
        "locks on files that all may read",
        """
        "flock": lambda: fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_SH),
        "record lock": lambda: fcntl.lockf(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB),
        "lease": lambda: fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK),
        "signal owner": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, targets["sentinel"]),
        """,
        before="import fcntl",
    ),
)
