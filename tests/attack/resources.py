"""Attacks on memory, processor, disk, processes and output: rows 1 to 9, 20 to 22."""

from __future__ import annotations

from attack.case import Case, tries

from sandbox import Ending

TIMEOUT = frozenset({Ending.TIMEOUT})
MEMORY = frozenset({Ending.MEMORY})
FLOOD = frozenset({Ending.OUTPUT_LIMIT})
STOPPED = frozenset({Ending.TIMEOUT, Ending.KILLED, Ending.ERROR, Ending.MEMORY})

CASES = (
    Case(
        row=1,
        name="fork bomb",
        source="while True:\n    try: os.fork()\n    except OSError: pass\n",
        endings=STOPPED,
        limits={"wall_s": 1.0, "processes": 16},
    ),
    Case(
        row=1,
        name="exec bomb",
        source=(
            'code = \'import os, sys; os.fork(); os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], '
            "sys.argv[1]])'\n"
            "os.execv(sys.executable, [sys.executable, '-c', code, code])\n"
        ),
        endings=STOPPED,
        limits={"wall_s": 1.0, "processes": 16},
    ),
    Case(
        row=1,
        name="thread bomb",
        source="import threading\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()\n",
        endings=STOPPED,
        limits={"wall_s": 2.0, "processes": 16},
    ),
    Case(
        row=2,
        name="memory by small pieces",
        source="hoard = []\nwhile True: hoard.append(bytearray(1 << 20))\n",
        endings=MEMORY,
        limits={"memory_mib": 200},
    ),
    Case(
        row=2,
        name="memory in one piece",
        source="import numpy as np\nhoard = np.ones(1 << 29)\n",
        endings=frozenset({Ending.MEMORY, Ending.ERROR}),
        limits={"memory_mib": 200},
    ),
    Case(
        row=2,
        name="memory in children",
        source="for _ in range(6):\n    if os.fork() == 0: break\nhoard = bytearray(60 << 20)\ntime.sleep(9)\n",
        endings=MEMORY,
        limits={"memory_mib": 200},
    ),
    Case(
        row=2,
        name="memory under a name like a count",
        source=(
            "libc.prctl(15, b'RssAnon:0', 0, 0, 0)\n"
            "for _ in range(6):\n    if os.fork() == 0: break\nhoard = bytearray(60 << 20)\ntime.sleep(9)\n"
        ),
        endings=MEMORY,
        limits={"memory_mib": 200},
    ),
    Case(
        row=10,
        name="names that no warden can read",
        source=(
            "for name in (b'Threads: x', b'\\xff\\xfe'):\n"
            "    libc.prctl(15, name, 0, 0, 0)\n    time.sleep(0.2)\n"
            "def solve(targets): return 1\n"
        ),
        check=lambda answers: answers == (1,),
    ),
    # Pages that were let go of would be in nobody's count.
    tries(
        3,
        "memory in shared mappings",
        """
        "of no file": lambda: mmap.mmap(-1, 8 << 20),
        "of zeros": lambda: mmap.mmap(os.open("/dev/zero", os.O_RDONLY), 8 << 20, prot=mmap.PROT_READ),
        """,
        before="import mmap",
    ),
    tries(3, "memory in files of no name", '"memfd": lambda: os.memfd_create("x")'),
    Case(
        row=3,
        name="memory in pipes",
        source=(
            "import fcntl\n"
            "def solve(targets):\n"
            "    total, ends = 0, []\n"
            "    try:\n"
            "        while True:\n"
            "            ends += (pair := os.pipe())\n"
            "            os.set_blocking(pair[1], False)\n"
            "            total += 1 << 16\n"
            "            fcntl.fcntl(pair[1], 1031, 1 << 20)\n"
            "            total += (1 << 20) - (1 << 16)\n"
            "    except OSError: pass\n"
            "    return total\n"
        ),
        check=lambda answers: answers[0] <= 130 << 20,
    ),
    Case(
        row=3,
        name="memory in sockets",
        source=(
            "def solve(targets):\n"
            "    total, ends = 0, []\n"
            "    try:\n"
            "        while True:\n"
            "            ends += (pair := socket.socketpair())\n"
            "            for end in pair:\n"
            "                end.setblocking(False)\n"
            "                for option in (socket.SO_SNDBUF, 32):\n"
            "                    try: end.setsockopt(socket.SOL_SOCKET, option, 1 << 28)\n"
            "                    except OSError: pass\n"
            "                try:\n"
            "                    while True: total += end.send(bytes(1 << 16))\n"
            "                except BlockingIOError: pass\n"
            "    except OSError: pass\n"
            "    return total\n"
        ),
        check=lambda answers: answers[0] <= 130 << 20,
    ),
    Case(
        row=4,
        name="disk by many files",
        source=(
            "def solve(targets):\n"
            "    total = 0\n"
            "    try:\n"
            "        for number in range(40):\n"
            "            with open(f'f{number}', 'wb') as file: total += file.write(bytes(1 << 20))\n"
            "    except OSError as error: return [error.errno == errno.ENOSPC, total]\n"
            "    return [False, total]\n"
        ),
        check=lambda answers: answers[0][0] and answers[0][1] <= 8 << 20,
        limits={"scratch_mib": 8},
        tiers=("full",),
    ),
    Case(
        row=4,
        name="disk by shared memory",
        source=(
            "def solve(targets):\n"
            "    try:\n"
            "        with open('/dev/shm/f', 'wb') as file: file.write(bytes(9 << 20))\n"
            "    except OSError as error: return error.errno == errno.ENOSPC\n"
        ),
        check=lambda answers: answers[0],
        limits={"scratch_mib": 8},
        tiers=("full",),
    ),
    tries(
        4,
        "disk by one file",
        """
        "long": lambda: os.pwrite(os.open("long", os.O_CREAT | os.O_WRONLY), b"x", 1 << 23)
        ,"sparse": lambda: os.truncate(os.open("sparse", os.O_CREAT | os.O_WRONLY), 1 << 40)
        """,
        limits={"file_mib": 4},
    ),
    Case(
        row=4,
        name="inodes",
        source=(
            "def solve(targets):\n"
            "    made = 0\n"
            "    try:\n"
            "        for made in range(2000): os.close(os.open(f'f{made}', os.O_CREAT))\n"
            "    except OSError as error: return [error.errno == errno.ENOSPC, made]\n"
            "    return [False, made]\n"
        ),
        check=lambda answers: answers[0][0] and answers[0][1] < 100,
        limits={"inodes": 100},
        tiers=("full",),
    ),
    Case(
        row=4,
        name="descriptors",
        source=(
            "def solve(targets):\n"
            "    count = 0\n"
            "    try:\n"
            "        while True: count = os.dup(0)\n"
            "    except OSError as error: return [error.errno == errno.EMFILE, count]\n"
        ),
        check=lambda answers: answers[0] == [True, 31],
        limits={"open_files": 32},
    ),
    Case(row=5, name="endless stdout", source="while True: os.write(1, bytes(1 << 16))\n", endings=FLOOD),
    Case(row=5, name="endless stderr", source="while True: os.write(2, bytes(1 << 16))\n", endings=FLOOD),
    Case(row=6, name="processor", source="while True: pass\n", endings=TIMEOUT, limits={"cpu_s": 1}),
    Case(row=6, name="sleep", source="time.sleep(60)\n", endings=TIMEOUT, limits={"wall_s": 0.3}),
    Case(
        row=6,
        name="stop itself",
        source="os.kill(os.getpid(), signal.SIGSTOP)\n",
        endings=TIMEOUT,
        limits={"wall_s": 0.3},
    ),
    Case(
        row=7,
        name="catch everything",
        source="while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
        endings=TIMEOUT,
        limits={"wall_s": 0.3},
    ),
    Case(
        row=7,
        name="ignore and block all signals",
        source=(
            "for number in signal.valid_signals():\n"
            "    try: signal.signal(number, signal.SIG_IGN)\n"
            "    except (OSError, ValueError): pass\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
            "while True: pass\n"
        ),
        endings=TIMEOUT,
        limits={"wall_s": 0.3},
    ),
    tries(
        8,
        "limits",
        """
        "own": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16)),
        "own memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 50, 1 << 50)),
        "controller's": lambda: resource.prlimit(targets["controller"], resource.RLIMIT_NOFILE, (9, 9)),
        "sentinel's": lambda: resource.prlimit(targets["sentinel"], resource.RLIMIT_NOFILE, (9, 9)),
        """,
        before="import resource",
    ),
    tries(
        9,
        "priority",
        """
        "affinity": lambda: os.sched_setaffinity(0, range(os.cpu_count())),
        "nice": lambda: os.nice(-20),
        "nice of others": lambda: os.setpriority(os.PRIO_PROCESS, targets["sentinel"], 19),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        """,
    ),
    Case(
        row=20,
        name="leave files for the next",
        source=(
            "for folder in ('/dev/shm', '/tmp', '/var/tmp', '.'):\n"
            "    try: open(folder + '/left-behind', 'w').write('x')\n"
            "    except OSError: pass\n"
            "def solve(targets): return 1\n"
        ),
        follow_up=(
            "def solve(targets):\n"
            "    return [f for f in ('/dev/shm', '/tmp', '/var/tmp', '.') if os.path.exists(f + '/left-behind')]\n"
        ),
        check=lambda answers: answers == ([],),
    ),
    tries(
        20,
        "leave times for the next",
        '**{name: (lambda name=name: os.utime(f"/dev/{name}")) for name in ("null", "full", "random", "urandom")},',
    ),
    Case(
        row=21,
        name="a scratch folder that resists",
        source=(
            "def solve(targets):\n"
            "    for depth in range(3000):\n"
            "        os.mkdir('d' * 50)\n        os.chdir('d' * 50)\n"
            "    open('file', 'w').close()\n"
            "    os.mkdir('closed', 0)\n"
            "    return depth\n"
        ),
        check=lambda answers: answers == (2999,),
    ),
    Case(row=22, name="abort", source="os.abort()\n", endings=frozenset({Ending.KILLED})),
    Case(row=22, name="segmentation fault", source="ctypes.string_at(8)\n", endings=frozenset({Ending.KILLED})),
    tries(
        22,
        "core dump",
        '"core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))',
        before="import resource",
    ),
)
