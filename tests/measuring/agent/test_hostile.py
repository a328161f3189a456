from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import nasty
from tests.measuring.agent.running import alone, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the agent is tested on Linux")


def test_script_is_seen(tmp_path: Path):
    """A plain script is accounted for from its start to its end, with its files and its imports."""
    (tmp_path / "data.bin").write_bytes(b"x" * 1000)
    ran = run(
        "import decimal, time\nfor _ in range(3): open('data.bin', 'rb').read()\n"
        "sum(i * i for i in range(2_000_000))\ntime.sleep(1.2)\nprint('done')",
        tmp_path,
    )
    view = ran.view

    assert (ran.code, ran.out, ran.err) == (0, "done\n", "")
    assert view.kind == "main"
    assert view.accounted_share > 0.95
    assert view.phase("waiting").wall_s == pytest.approx(1.2, abs=0.3)
    assert view.phase("other").cpu_s > 0.01
    assert [(os.path.basename(f.path), f.opens, f.again_bytes) for f in view.files] == [("data.bin", 3, 2000)]
    assert view.code
    assert not list(ran.folder.glob("agent-*"))


def test_nothing_imported_first(tmp_path: Path):
    """The program finds no module loaded that it would not find without joulewise, but the agent itself."""
    code = "import sys\nprint(*sorted(m for m in sys.modules if not m.startswith('_joulewise')))"

    with_us = set(run(code, tmp_path).out.split())
    without = set(alone(code, tmp_path).stdout.split())

    assert with_us - without <= {"sitecustomize", "atexit", "_struct", "mmap", "_blake2"} | _START
    assert without <= with_us


# What the agent's own code needs of the standard library: no framework, nothing with a cost.
_START = {
    "__future__", "ast", "collections", "collections.abc", "contextlib", "enum", "functools", "importlib", "importlib._abc", "importlib.util",
    "importlib.machinery", "keyword", "operator", "re", "re._casefix", "re._compiler", "re._constants", "re._parser", "reprlib",
    "sysconfig", "types", "typing", "typing.io", "typing.re", "copyreg", "itertools", "warnings", "threading", "_weakrefset", "_collections", "_functools", "_operator", "_sre", "_typing",
}  # fmt: skip


_IN_PROGRAM = (
    "import sys\nif sys.orig_argv[-1].endswith('program.py') and 'joulewise' not in sys.orig_argv:\n"
)


def test_own_sitecustomize_runs(tmp_path: Path):
    """The user's own sitecustomize still runs, is the one in `sys.modules`, and the agent's folder is out of the path."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text(_IN_PROGRAM + "    print('mine')\nflag = 7\n")
    code = "import sitecustomize, sys\nprint(sitecustomize.flag, [p for p in sys.path if 'boot' in p])"
    ran = run(code, tmp_path, environment={"PYTHONPATH": str(tmp_path / "mine")})

    assert ran.out == "mine\n7 []\n"
    assert ran.view.kind == "main"


def test_broken_sitecustomize_says_the_same(tmp_path: Path):
    """A sitecustomize that raises is complained about in Python's own words, and the agent is there all the same."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text(_IN_PROGRAM + "    raise KeyError('x')\n")
    environment = {"PYTHONPATH": str(tmp_path / "mine")}
    ran = run("print('runs')", tmp_path, environment=environment)
    plain = alone("print('runs')", tmp_path, environment)

    assert (ran.out, ran.err) == (plain.stdout, plain.stderr)
    assert "sitecustomize" in ran.err
    assert ran.view


@pytest.mark.parametrize("flag", ["-I", "-S", "-E"])
def test_isolated_python_is_said(flag: str, tmp_path: Path):
    """Where Python does not load the hook, the program runs, nothing is seen inside, and the recording says so."""
    ran = run("print('runs')", tmp_path, python=[flag])

    assert (ran.code, ran.out, ran.views) == (0, "runs\n", ())
    assert any("-I, -S or -E" in note.text for note in ran.recording.notes)


def test_switched_off(tmp_path: Path):
    """With --no-phases nothing is injected."""
    ran = run("import os\nprint(os.environ.get('PYTHONPATH'))", tmp_path, options=["--no-phases"])

    assert (ran.out, ran.views) == ("None\n", ())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", 137),
        ("os.execv('/bin/sh', ['sh', '-c', 'sleep 1; exit 4'])", 4),
        ("raise SystemExit(5)", 5),
    ],
)
def test_hard_ends(end: str, code: int, tmp_path: Path):
    """A program that exits hard, is killed or executes another keeps its code; its time until then is there."""
    ran = run(
        f"import os, time\ntime.sleep(0.1)\nsum(i * i for i in range(8_000_000))\nos.fsync(os.open('x', os.O_CREAT | os.O_WRONLY))\n{end}",
        tmp_path,
    )

    assert ran.code == code
    assert ran.view.phase("other").wall_s > 0.2
    assert ran.view.accounted_share > 0.95


def test_children(tmp_path: Path):
    """Forked, spawned and ordinary children have views of their own."""
    code = """
import multiprocessing, os, subprocess, sys, time
def work(n): sum(i * i for i in range(300_000))
if __name__ == "__main__":
    for way in ("fork", "spawn"):
        child = multiprocessing.get_context(way).Process(target=work, args=(1,)); child.start(); child.join()
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    if os.fork() == 0: os._exit(0)
    os.wait()
"""
    ran = run(code, tmp_path)

    assert (ran.code, ran.err) == (0, "")
    kinds = sorted(v.kind for v in ran.views)
    assert kinds.count("main") == 1
    assert kinds.count("fork") == 2
    assert kinds.count("child") >= 2


def test_traceback_is_the_same(tmp_path: Path):
    """An import that fails shows the traceback that it shows without us."""
    (tmp_path / "broken.py").write_text("import json\nraise RuntimeError('in the module')\n")
    ran = run("import broken", tmp_path)
    plain = alone("import broken", tmp_path)

    assert (ran.code, ran.err) == (plain.returncode, plain.stderr)


def test_modules_of_the_same_names(tmp_path: Path):
    """A program's own mmap.py, json.py or struct.py is not loaded by us, nor hidden from it."""
    for name in ("mmap", "json", "struct", "timeline", "facts", "re"):
        if name != "re":
            (tmp_path / f"{name}.py").write_text("value = 'mine'\n")
    ran = run(
        "import mmap, json, facts\nprint(mmap.value, json.value, facts.value)",
        tmp_path,
        environment={"PYTHONPATH": "."},
    )

    assert (ran.out, ran.err) == ("mine mine mine\n", "")
    assert ran.view


def test_no_place_for_a_page(tmp_path: Path):
    """Where files may not grow, the agent stays away and the program runs."""
    done = run(
        "import os, resource, subprocess, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
        "subprocess.run([sys.executable, '-c', 'print(1)'], check=True)",
        tmp_path,
    )

    assert (done.code, done.out) == (0, "1\n")


_INSIDE = [
    replace(n, command=(n.command[0], *(w for w in n.command[1:] if w != "-I")))
    for n in nasty.NASTY
    if n.command[0] == nasty.PYTHON
    and "-I" in n.command
    and "-S" not in n.command
    and "descriptors 3" not in n.name
]


@pytest.mark.parametrize("program", _INSIDE, ids=[n.name for n in _INSIDE])
def test_nasty_programs_with_the_agent_inside(program: nasty.Nasty, tmp_path: Path):
    """The nasty programs in Python, without their -I, do the same with the agent inside as alone."""
    seen = []
    for joulewise in (False, True):
        folder = tmp_path / ("recorded" if joulewise else "alone") / "folder"
        folder.mkdir(parents=True)
        seen.append(nasty.run(program, folder, joulewise))
        nasty.clean_up(folder)

    assert seen[1].code == seen[0].code
    assert seen[1].out.replace(b"/recorded/", b"/alone/") == seen[0].out
    assert seen[1].err == seen[0].err


def test_signals_are_the_programs_own(tmp_path: Path):
    """The agent takes no signal handler and starts no thread."""
    code = """
import os, signal, threading
taken = [s for s in (signal.SIGALRM, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1) if signal.getsignal(s) != signal.SIG_DFL]
print(len(os.listdir("/proc/self/task")), threading.active_count(), taken)
"""

    assert run(code, tmp_path).out == "1 1 []\n"


def test_under_pytest(tmp_path: Path):
    """A test run passes and fails as alone, captures what is printed, and is seen."""
    (tmp_path / "test_it.py").write_text(
        "import os\ndef test_prints(capsys):\n    print('x'); assert capsys.readouterr().out == 'x\\n'\n"
        "def test_fsync(tmp_path):\n    with open(tmp_path / 'f', 'w') as f: os.fsync(f.fileno())\n"
        "def test_fails(): assert 1 == 2\n"
    )
    code = "import sys, pytest\nsys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--no-header', 'test_it.py']))"
    ran = run(code, tmp_path)
    plain = alone(code, tmp_path)

    def words(text: str) -> list[str]:
        return [line for line in text.splitlines() if " in " not in line]

    assert ran.code == plain.returncode == 1
    assert words(ran.out) == words(plain.stdout)
    assert ran.view.phase("checkpoint").calls == 0
    assert ran.view.accounted_share > 0.95


@pytest.mark.slow
def test_in_a_notebook(tmp_path: Path):
    """The kernel of a notebook is a process of its own, seen, and its cells give what they give alone."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = """
import nbformat
from nbclient import NotebookClient
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (
    "import time, threading; n = sum(i * i for i in range(2_000_000)); print(n)", "1/0")])
client = NotebookClient(book, timeout=300, kernel_name="python3", allow_errors=True)
client.execute()
print(book.cells[0].outputs[0]["text"].strip(), book.cells[1].outputs[0]["ename"])
"""
    ran = run(code, tmp_path)

    assert ran.code == 0, ran.err
    assert ran.out.split() == [str(sum(i * i for i in range(2_000_000))), "ZeroDivisionError"]
    kernels = [v for v in ran.views if v.kind == "child" and any("ipykernel" in w for w in v.command)]
    assert len(kernels) == 1
    assert kernels[0].phase("other").cpu_s > 0.05


def test_fsync_is_no_checkpoint(tmp_path: Path):
    """A program that syncs its own file writes no checkpoint."""
    ran = run(
        "import os\nwith open('log', 'w') as f:\n    for _ in range(5): f.write('x'); f.flush(); os.fsync(f.fileno())",
        tmp_path,
    )

    assert (ran.code, ran.view.phase("checkpoint").calls) == (0, 0)


def test_a_remedy_in_children(tmp_path: Path):
    """Children get the remedies of their parent: spawned, forked and started."""
    code = """
import multiprocessing, os, subprocess, sys
def show(q): q.put(os.environ["OMP_NUM_THREADS"])
if __name__ == "__main__":
    for way in ("fork", "spawn"):
        context = multiprocessing.get_context(way); q = context.Queue()
        child = context.Process(target=show, args=(q,)); child.start(); print(q.get()); child.join()
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], check=True)
"""
    ran = run(code, tmp_path, options=["--with", "threads=2"], python=["-u"])

    assert (ran.code, ran.out, ran.err) == (0, "2\n2\n2\n", "")


def test_fork_server(tmp_path: Path):
    """A fork server's children, which no program forks itself, do their work and are seen."""
    code = """
import multiprocessing
def work(n): return sum(i * i for i in range(n))
if __name__ == "__main__":
    with multiprocessing.get_context("forkserver").Pool(2) as pool: print(pool.map(work, [200_000] * 4)[0])
"""
    ran = run(code, tmp_path)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == alone(code, tmp_path).stdout
    assert sum(v.kind == "fork" for v in ran.views) >= 2
    assert all(v.accounted_share > 0.95 for v in ran.views)
