"""Nasty programs: what a program may do that a careless parent would break, each as a command.

Used twice: `test_transparent.py` compares each with and without joulewise, `bench/transparent.py` times them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class Nasty:
    """A program: its command in `folder`, and how its surroundings differ from ordinary ones.

    `wrap` is a shell line around it in which `"$@"` is the program (with joulewise before it or not).
    """

    name: str
    command: tuple[str, ...] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    wrap: str = 'exec "$@"'
    prepare: Callable[[Path], None] | None = None
    needs_home: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What the outside sees of a program."""

    code: int
    out: bytes
    err: bytes


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """Return a command that runs Python code, with nothing of the user's own around it."""
    return (PYTHON, "-I", "-c", code, *arguments)


def shell(code: str) -> tuple[str, ...]:
    """Return a command that runs shell code."""
    return ("/bin/sh", "-c", code)


def _script(name: str, text: bytes, mode: int = 0o755) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.write_bytes(text)
        path.chmod(mode)

    return write


def _files(**texts: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name).write_bytes(text)

    return write


DAEMON = r"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        open("daemon.pid", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists("daemon.pid") or not open("daemon.pid").read(): time.sleep(0.01)
print("daemon started")
"""
ADOPTED = r"""
import os, sys, time
parent = os.getpid()
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() == parent: time.sleep(0.005)
        middle = os.getppid()
        deadline = time.time() + 5
        while os.getppid() != 1 and time.time() < deadline: time.sleep(0.005)
        os.write(write, b"adopted by init" if os.getppid() == 1 else b"adopted by somebody")
        os._exit(0)
    time.sleep(0.05)
    os._exit(0)
os.wait()
os.close(write)
print(os.read(read, 100))
"""
FORKS = r"""
import os
for i in range(20):
    if os.fork() == 0:
        os._exit(i)
print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for i in range(20)))
"""
DEEP = r"""
import os, sys
sys.stdout.flush()
for depth in range(30):
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) + 1)
os._exit(0)
"""
ZOMBIES = r"""
import os, time
for i in range(50):
    if os.fork() == 0: os._exit(0)
time.sleep(0.2)
print("fifty zombies")
"""
SIGNALS = r"""
import signal
names = [s.name for s in sorted(signal.valid_signals()) if isinstance(s, signal.Signals)
         and s not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
         and signal.getsignal(s) != signal.SIG_DFL]
print(names, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
for line in open("/proc/self/status"):
    if line.startswith(("SigBlk", "SigPnd", "ShdPnd")): print(line.strip())
"""
# Signals 32 and 33 belong to the C library, which ignores them in whatever it spawns: left out.
DISPOSITIONS = r"grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status | sed 's/^\(.*\t.\{7\}\)../\1--/'"
DESCRIPTORS = r"""
import os
print(sorted(int(n) for n in os.listdir("/proc/self/fd")))
for fd in (3, 9):
    try: print(fd, os.read(fd, 100))
    except OSError as error: print(fd, error.errno)
"""
SELF = r"""
import os, resource, sys
print(os.getcwd(), oct(os.umask(0)), os.nice(0), os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0)))
print([resource.getrlimit(getattr(resource, n)) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")])
print(sys.argv[1:], os.isatty(0), os.isatty(1), os.isatty(2), os.getsid(0) == os.getpid(), os.getuid(), os.getgroups())
print(sorted((k, v) for k, v in os.environ.items() if k not in ("JOULEWISE_RECORDING", "_", "SHLVL", "PWD", "OLDPWD")
              and not (k == "PYTHONPATH" and v.endswith("/agent/boot"))))
"""
CLOSES = "import os; os.closerange(3, 1025); print('closed')"

NASTY: tuple[Nasty, ...] = (
    Nasty("ordinary", shell("echo out; echo err >&2")),
    Nasty("exit code 7", shell("exit 7")),
    Nasty("exit code 255", shell("exit 255")),
    Nasty("exit code 3, as a budget's", shell("exit 3")),
    Nasty("exit code 125, as ours", shell("exit 125")),
    *(Nasty(f"killed by SIG{n}", shell(f"echo before; kill -{n} $$; sleep 9")) for n in
      ("KILL", "TERM", "INT", "HUP", "QUIT", "ABRT", "SEGV", "USR1", "USR2", "PIPE", "ALRM", "XFSZ")),
    Nasty("forks twenty", python(FORKS)),
    Nasty("daemon that outlives", python(DAEMON)),
    Nasty("orphan waits for init", python(ADOPTED)),
    Nasty("orphan in the background", shell("sleep 600 >/dev/null 2>&1 & echo $! > daemon.pid; echo gone")),
    Nasty("closes stdout", shell("echo a; exec >&-; echo b; exit 4")),
    Nasty("closes stdin", shell("exec <&-; echo a")),
    Nasty("closes stderr", shell("exec 2>&-; echo a; ls /nonexistent; exit 5")),
    Nasty("closes all three", shell("exec <&- >&- 2>&-; exit 6")),
    Nasty("prints 100 MB", shell("head -c 100000000 /dev/zero"), wrap='"$@" | md5sum'),
    Nasty("prints 20 MB to stderr", shell("head -c 20000000 /dev/zero >&2"), wrap='"$@" 2>&1 | md5sum'),
    Nasty("reader closes early", shell("yes; echo $? >&2"), wrap='"$@" | head -n 2'),
    Nasty("dies of the closed pipe", shell("exec yes"), wrap='set +e; { "$@"; echo "code $?" >&2; } | head -n 1'),
    Nasty("no HOME", shell("echo ${HOME-none}"), environment={"HOME": None, "JOULEWISE_HOME": None}, needs_home=False),
    Nasty("empty environment", ("/usr/bin/env",), wrap='exec env -i "$@"', needs_home=False),
    Nasty("environment in the C locale", shell("echo ${LC_CTYPE-none}${LC_ALL-none}"), wrap='exec env -u LC_ALL -u LC_CTYPE LANG=C "$@"'),
    Nasty("home is a file", shell("echo ok"), environment={"JOULEWISE_HOME": "/dev/null"}, needs_home=False),
    Nasty("home is full", shell("echo ok"), environment={"JOULEWISE_HOME": "/dev/full/x"}, needs_home=False),
    Nasty("file size limit", shell("head -c 100000 /dev/zero > file; echo $?"), wrap='ulimit -f 8; exec "$@"'),
    Nasty("file size limit nought", shell("echo ok"), wrap='ulimit -f 0; exec "$@"'),
    Nasty("ignores SIGTERM", shell("trap '' TERM; kill -TERM $$; echo alive; exit 2")),
    Nasty("traps and exits 7", shell("trap 'exit 7' TERM; kill -TERM $$; sleep 9")),
    Nasty("reads stdin", python("import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"), stdin=bytes(range(256)) * 4000),
    Nasty("leaves stdin to the next", shell("head -c 3 >/dev/null"), stdin=b"abcdefgh", wrap='"$@"; cat'),
    Nasty("inherits descriptors 3 and 9", python(DESCRIPTORS), wrap='exec "$@" 3<three 9<nine', prepare=_files(three=b"three", nine=b"nine")),
    Nasty("uses setsid", ("setsid", "--wait", "sh", "-c", "echo new session; exit 9")),
    Nasty("is its own group", python("import os; os.setpgid(0, 0); print('group'); raise SystemExit(8)")),
    Nasty("exec chain", shell("exec sh -c 'exec sh -c \"exec sh -c \\\"exit 11\\\"\"'")),
    Nasty("script without shebang", ("./plain", "a b", "*"), prepare=_script("plain", b'echo "$# $1 $2"; exit 12\n')),
    Nasty("script on the PATH without shebang", ("plain-on-path", "x"), wrap='PATH=$PWD:$PATH; export PATH; exec "$@"', prepare=_script("plain-on-path", b'echo "$1"; exit 13\n')),
    Nasty("empty script", ("./empty",), prepare=_script("empty", b"")),
    Nasty("deep tree", python(DEEP)),
    Nasty("two hundred short children", shell("i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; echo $i")),
    Nasty("zombies", python(ZOMBIES)),
    Nasty("deletes its folder", shell('mkdir gone; cd gone; rmdir ../gone; echo "still here"')),
    Nasty("started in a deleted folder", shell("echo ok"), wrap='mkdir lost && cd lost && rmdir ../lost && exec "$@"'),
    Nasty("huge arguments", shell('echo "$#"') + tuple("x" * 100_000 for _ in range(15))),
    Nasty("huge environment", shell('echo "${#BIG}"'), environment={"BIG": "y" * 120_000}),
    Nasty("few descriptors", shell("ulimit -n"), wrap='ulimit -n 16; exec "$@"'),
    Nasty("little memory", shell("ulimit -v"), wrap='ulimit -v 200000; exec "$@"'),
    Nasty("no more processes of its own", shell("echo alone"), wrap='ulimit -u 4096; exec "$@"'),
    Nasty("undecodable arguments", (*shell('printf "%s|" "$@"'), "x", os.fsdecode(b"\xff\xfe\x80"), "snow \u2603", "", "a\nb")),
    Nasty("undecodable environment", shell('printf "%s" "$ODD"'), environment={"ODD": os.fsdecode(b"\xff\x80=\n")}),
    Nasty("signal mask and handlers", python(SIGNALS)),
    Nasty("dispositions of a shell", shell(DISPOSITIONS)),
    Nasty("hang-up ignored by its parent", shell(DISPOSITIONS), wrap="trap '' HUP; exec \"$@\""),
    Nasty("itself as it sees itself", python(SELF, "--", "-x", "--name"), wrap='umask 027; ulimit -c 0; exec "$@"'),
    Nasty("python -I -S", (PYTHON, "-I", "-S", "-c", "import sys; print(sys.flags.isolated, sys.flags.no_site)")),
    Nasty("variables of Python's own", shell("echo $PYTHONWARNINGS $PYTHONINSPECT"), environment={"PYTHONWARNINGS": "error", "PYTHONINSPECT": "1", "PYTHONUNBUFFERED": None}),
    Nasty("modules of the same names", shell("echo ok"), environment={"PYTHONPATH": "."}, prepare=_files(**dict.fromkeys(("random.py", "json.py", "secrets.py", "dataclasses.py", "click.py"), b"raise SystemExit('shadowed')"))),
    Nasty("closes all descriptors", python(CLOSES)),
    Nasty("changes its umask", shell("umask 0; : > open; stat -c %a open")),
    Nasty("runs joulewise itself", (PYTHON, "-m", "joulewise", "run", "--quiet", "--", "sh", "-c", "echo inner; exit 14")),
    Nasty("missing program", ("no-such-program-here",), wrap='"$@" 2>/dev/null'),
    Nasty("missing program with a path", ("./no/such/program",), wrap='"$@" 2>/dev/null'),
    Nasty("folder as a program", ("/tmp",), wrap='"$@" 2>/dev/null'),
    Nasty("not executable", ("./text",), wrap='"$@" 2>/dev/null', prepare=_script("text", b"echo no\n", 0o644)),
    Nasty("stdin closed before", shell("cat; echo $?"), wrap='exec "$@" <&- 2>/dev/null'),
    Nasty("stdout closed before", shell("echo x; echo $? >&2"), wrap='exec "$@" >&- 2>err'),
    Nasty("all closed before", shell("echo $$ > pid; exit 15"), wrap='exec "$@" <&- >&- 2>&-'),
)  # fmt: skip


def run(
    nasty: Nasty,
    folder: Path,
    joulewise: bool,
    options: tuple[str, ...] = ("--quiet",),
    timeout_s: float = 120,
) -> Seen:
    """Run a nasty program in `folder`, with or without joulewise, and return what is seen from outside."""
    if nasty.prepare:
        nasty.prepare(folder)
    environment = {k: v for k, v in os.environ.items() if k != "JOULEWISE_RECORDING"}
    if nasty.needs_home:
        environment["JOULEWISE_HOME"] = str(folder.parent / f"home-{folder.name}")
    for key, value in nasty.environment.items():
        if value is None:
            environment.pop(key, None)
        else:
            environment[key] = value
    before = (PYTHON, "-m", "joulewise", "run", *options, "--") if joulewise else ()
    done = subprocess.run(
        ["/bin/sh", "-c", nasty.wrap, "sh", *before, *nasty.command],
        cwd=folder,
        env=environment,
        input=nasty.stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    return Seen(done.returncode, done.stdout, done.stderr)


def clean_up(folder: Path) -> bool:
    """End the daemon that a nasty program left, if it left one; returns whether it was alive."""
    path = folder / "daemon.pid"
    if not path.exists():
        return False
    try:
        os.kill(int(path.read_text()), 9)
    except ProcessLookupError:
        return False
    return True
