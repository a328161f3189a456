from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.launching.port import Checkpointing, Order, Refused, Resources, State, Unreachable
from joulewise.launching.slurm import Slurm
from joulewise.testing.engine_contract import SAYS_GOODBYE, EngineContract, EngineRig
from joulewise.testing.slurm import private_slurm, slurm_missing

pytestmark = pytest.mark.service


def need_slurm():
    if why := slurm_missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}; in CI that is a failure", pytrace=False)
        pytest.skip(why)


@pytest.fixture(scope="module")
def cluster():
    need_slurm()
    with private_slurm(2) as started:
        yield started


@pytest.fixture
def rig(cluster, tmp_path):
    yield from a_rig(cluster, tmp_path)


def a_rig(cluster, tmp_path, **environment):
    def engine():
        return Slurm(tmp_path / "jobs", environment={**cluster.environment, **environment})

    folder = tmp_path / "work"
    folder.mkdir()
    made = EngineRig(engine(), engine, folder)
    yield made
    made.clean()


class TestSlurm(EngineContract):
    pass


def key_of(rig):
    return rig.folder.parent.name


def order(rig, *argv, key="", **fields):
    key = key or key_of(rig)
    made = Order(key, argv, str(rig.folder), **fields)
    handle = rig.engine.start(made)
    rig.keys[handle] = key
    return handle


def test_two_nodes(rig, cluster):
    """A job of two nodes gets both, and its tags are seen beside it in the queue."""
    handle = order(
        rig, "srun", "-N2", "hostname", resources=Resources(cpus=4, nodes=2, memory_bytes=1 << 30, limit_s=90), held=True,
        tags={"zone": "DE", "user": "ada|x"}, name="two nodes",
    )  # fmt: skip
    job = handle.partition("/")[0]

    shown = cluster.command("scontrol", "show", "job", job)
    assert f"Comment=joulewise:{key_of(rig)} zone=DE user=ada_x" in shown
    assert "NumNodes=2" in shown
    assert "CPUs/Task=2" in shown
    assert "MinMemoryNode=512M" in shown
    assert "TimeLimit=00:02:00" in shown
    assert "JobName=two nodes" in shown
    assert "Requeue=0" in shown  # it cannot save its state: Slurm itself may not requeue it either


def test_found_by_its_comment(rig):
    """A job whose folder is gone, as if it was submitted on another host, is found by its key and not submitted again."""
    handle = order(rig, "sleep", "60")
    shutil.rmtree(rig.folder.parent / "jobs")

    assert rig.again().find(key_of(rig)) == handle
    assert rig.again().start(Order(key_of(rig), ("sleep", "60"), str(rig.folder))) == handle


def test_killed_submitters(rig, cluster):
    """Whoever is killed in the middle of a submission, and however many submit at once, there is one job."""
    submit = (
        "import sys; from pathlib import Path; from joulewise.launching.slurm import Slurm;"
        "from joulewise.launching.port import Order;"
        "Slurm(Path(sys.argv[1]), environment={'SLURM_CONF': sys.argv[2]}).start(Order(sys.argv[3], ('sleep', '99'), '/'))"
    )
    jobs, conf = str(rig.folder.parent / "jobs"), cluster.environment["SLURM_CONF"]
    for attempt in range(4):
        key = f"killed-{attempt}"
        for delay_s in (0.1, 0.13, 0.16 + attempt * 0.01):
            one = subprocess.Popen([sys.executable, "-c", submit, jobs, conf, key])
            time.sleep(delay_s)
            one.kill()
            one.wait()
        handle = order(rig, "sleep", "99", key=key)
        rig.await_state(handle, State.RUNNING, State.QUEUED)
        time.sleep(0.3)
        comments = cluster.command("squeue", "-h", "-t", "all", "-o", "%k").splitlines()
        assert comments.count(f"joulewise:{key}") == 1
        rig.engine.cancel(handle, 0.0)


def test_second_job_of_a_key(rig, cluster):
    """Should a key be submitted twice after all, only one of the two runs the program."""
    handle = order(rig, "sh", "-c", "echo one copy; sleep 1")
    folder = rig.folder.parent / "jobs" / key_of(rig)
    rig.await_log(handle, "one copy")

    second = cluster.command(
        "sbatch", "--parsable", f"--output={folder}/other", str(folder / "script")
    ).strip()

    rig.await_state(handle, State.FINISHED)
    until_s = time.monotonic() + 20
    while "FAILED" not in cluster.command("squeue", "-h", "-t", "all", "-j", second, "-o", "%T"):
        assert time.monotonic() < until_s
        time.sleep(0.1)
    assert rig.whole_log(handle) == "one copy\n"
    assert "one copy" not in (folder / "other").read_text()


SCRIPT = """#!/bin/bash
#SBATCH --job-name=mine
#SBATCH --output=%x-%j.log
#SBATCH --cpus-per-task=2
echo "script says $1 from $PWD as $SLURM_JOB_NAME on $SLURM_CPUS_PER_TASK"
"""


def test_a_script_of_the_users(rig, cluster):
    """An sbatch line is submitted as it is: directives, options and arguments hold, and the log is the script's own."""
    (rig.folder / "job.sh").write_text(SCRIPT)
    handle = order(
        rig, "sbatch", "--nodes=1", "job.sh", "hello", begin_utc=datetime.now(UTC) + timedelta(hours=1)
    )

    assert rig.engine.status(handle).state is State.QUEUED
    shown = cluster.command("scontrol", "show", "job", handle.partition("/")[0])
    assert "JobName=mine" in shown
    assert "CPUs/Task=2" in shown
    rig.engine.begin(handle, datetime.now(UTC))
    assert rig.await_state(handle, State.FINISHED).exit_code == 0
    assert f"script says hello from {rig.folder} as mine on 2" in rig.await_log(handle, "hello")
    assert (rig.folder / f"mine-{handle.partition('/')[0]}.log").exists()


def test_a_script_with_checkpoint(rig):
    """A user's script hears the signal itself, and is requeued when it has ended."""
    (rig.folder / "job.sh").write_text(
        "#!/bin/bash\ntrap 'echo saved; exit 0' USR2\necho began $SLURM_RESTART_COUNT\nwhile :; do sleep 0.1; done\n"
    )
    handle = order(
        rig, "sbatch", "--open-mode=append", "job.sh", checkpointing=Checkpointing(signal.SIGUSR2, 20.0)
    )
    rig.await_log(handle, "began")

    rig.engine.requeue(handle)

    rig.await_state(handle, State.HELD)
    rig.engine.release(handle)
    rig.await_log(handle, "began 1")
    assert "saved" in rig.whole_log(handle)
    assert rig.await_state(handle, State.RUNNING).restarts == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("sbatch", "nosuch.sh"), "nable to open file nosuch.sh"),
        (("sbatch", "--partition=nosuch", "job.sh"), "partition"),
        (("sbatch", "--comment=mine", "job.sh"), "comment"),
        (("sbatch", "--no-such-option", "job.sh"), "no-such-option"),
    ],
)
def test_refused_scripts(rig, argv, says):
    """What sbatch refuses is one line, and leaves nothing behind."""
    (rig.folder / "job.sh").write_text(SCRIPT)

    with pytest.raises(Refused, match=says) as refused:
        rig.engine.start(Order(key_of(rig), argv, str(rig.folder)))

    assert "\n" not in str(refused.value)
    assert list((rig.folder.parent / "jobs").iterdir()) == []


def test_array(rig):
    """An array is one job: held, released and told as one; its exit code is the worst of its tasks."""
    (rig.folder / "job.sh").write_text("#!/bin/sh\nexit $SLURM_ARRAY_TASK_ID\n")
    handle = order(rig, "sbatch", "--array=0-3%2", "job.sh", held=True)

    rig.await_state(handle, State.HELD)
    rig.engine.release(handle)
    ended = rig.await_state(handle, State.FINISHED)

    assert ended.exit_code == 3
    assert ended.reason.startswith("4 of 4 tasks have ended")
    with pytest.raises(Refused, match="is an array"):
        rig.engine.logs(handle)


def test_array_suspended(rig):
    """An array is suspended, resumed and cancelled as one."""
    (rig.folder / "job.sh").write_text("#!/bin/sh\nsleep 100\n")
    handle = order(rig, "sbatch", "--array=0-1", "job.sh")
    rig.await_state(handle, State.RUNNING)

    rig.engine.suspend(handle)
    rig.await_state(handle, State.SUSPENDED)
    rig.engine.resume(handle)
    rig.await_state(handle, State.RUNNING)
    rig.engine.cancel(handle)
    rig.await_state(handle, State.CANCELLED)


def test_no_controller(cluster, tmp_path):
    """A cluster that does not answer is said to be away, in one line."""
    conf = tmp_path / "slurm.conf"
    text = (cluster.folder / "slurm.conf").read_text()
    conf.write_text(
        "".join(
            "SlurmctldPort=1\n" if line.startswith("SlurmctldPort") else f"{line}\n"
            for line in text.splitlines()
        )
        + "MessageTimeout=1\n"
    )
    engine = Slurm(tmp_path / "jobs", environment={"SLURM_CONF": str(conf)})

    with pytest.raises(Unreachable) as away:
        engine.find("job-1")
    assert "\n" not in str(away.value)


def test_no_slurm(tmp_path):
    """Where there is no Slurm at all, that is the line."""
    engine = Slurm(tmp_path / "jobs", environment={"PATH": str(tmp_path)})

    with pytest.raises(Refused, match="not installed here"):
        engine.find("job-1")


@pytest.fixture
def guest(cluster, tmp_path):
    """Yield a rig whose commands are run by an ordinary user."""
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's own: the guest must come through
        folder.chmod(0o755)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("sbatch", "scontrol", "scancel", "squeue", "sinfo"):
        file = bin_folder / name
        file.write_text(
            f'#!/bin/sh\nexec setpriv --reuid=www-data --regid=www-data --clear-groups {shutil.which(name)} "$@"\n'
        )
        file.chmod(0o755)
    made = a_rig(cluster, tmp_path, PATH=f"{bin_folder}:{os.environ['PATH']}")
    rig = next(made)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (rig.folder / "job.sh").write_text("#!/bin/sh\ni=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done\n")
    for folder in (rig.folder, jobs):
        os.chmod(folder, 0o777)
    yield rig
    made.close()
    rig.clean()


def test_may_not_suspend(guest):
    """Where the user may not suspend, the job's processes are stopped, it keeps its allocation, and the status says so."""
    handle = order(
        guest, "sbatch", "--output=out-%j", "job.sh", checkpointing=Checkpointing(signal.SIGTERM, 5.0)
    )
    guest.await_log(handle, "5\n")

    assert not guest.engine.keeps  # root asks, in a user's name: what Slurm says then is learnt
    guest.engine.suspend(handle)

    stopped = guest.await_state(handle, State.SUSPENDED)
    assert "keeps its allocation" in stopped.reason
    assert guest.engine.keeps
    time.sleep(0.3)
    before = guest.whole_log(handle)
    time.sleep(1.0)
    assert guest.whole_log(handle) == before
    guest.again().resume(handle)
    guest.await_state(handle, State.RUNNING)
    numbers = guest.await_log(handle, f"{len(before.split()) + 5}\n").split()
    assert numbers == [str(i) for i in range(len(numbers))]


def test_what_an_ordinary_user_may(guest):
    """Begin, hold, release and requeue need no rights, and a requeued job of an ordinary user does not wait minutes."""
    handle = order(
        guest, "sbatch", "--output=out-%j", "--open-mode=append", "job.sh",
        begin_utc=datetime.now(UTC) + timedelta(hours=1), checkpointing=Checkpointing(signal.SIGTERM, 5.0),
    )  # fmt: skip
    guest.engine.hold(handle)
    guest.await_state(handle, State.HELD)
    guest.engine.release(handle)
    guest.await_state(handle, State.QUEUED)
    guest.engine.begin(handle, datetime.now(UTC))
    guest.await_log(handle, "5\n")
    guest.engine.requeue(handle)
    guest.await_state(handle, State.HELD)
    guest.engine.release(handle)

    assert guest.await_state(handle, State.RUNNING).restarts == 1
    guest.engine.suspend(handle)
    guest.await_state(handle, State.SUSPENDED)
    guest.engine.cancel(handle)
    guest.await_state(handle, State.CANCELLED)


def test_forgotten(tmp_path):
    """Minutes after its end Slurm forgets a job; its exit code is known from its folder, and a lost one is said."""
    need_slurm()
    with private_slurm(settings="MinJobAge=2\n") as cluster:
        made = a_rig(cluster, tmp_path)
        rig = next(made)
        handle = order(rig, "sh", "-c", "exit 7")
        (rig.folder / "job.sh").write_text("#!/bin/sh\nexit 7\n")
        script = order(rig, "sbatch", "job.sh", key="script-1")
        while cluster.command("squeue", "-h", "-t", "all", "-o", "%i"):
            time.sleep(0.2)

        assert rig.engine.status(handle).exit_code == 7
        assert rig.engine.status(handle).state is State.FINISHED
        assert rig.engine.status(script).state is State.LOST
        assert "has forgotten" in rig.engine.status(script).reason
        assert rig.again().start(Order(key_of(rig), ("true",), str(rig.folder))) == handle
        made.close()


def test_sleeping_nodes(tmp_path):
    """Where all idle nodes sleep, the planner is told how long a wake may take, and a job wakes one."""
    need_slurm()
    wakes = tmp_path / "wakes"
    programs = {}
    for name in ("suspend", "resume"):
        programs[name] = tmp_path / name
        programs[name].write_text(f"#!/bin/sh\necho {name} $1 >> {wakes}\n")
        programs[name].chmod(0o755)
    settings = (
        f"SuspendProgram={programs['suspend']}\nResumeProgram={programs['resume']}\nSuspendTime=2\n"
        "SuspendTimeout=2\nResumeTimeout=40\nReconfigFlags=KeepPowerSaveSettings\n"
    )
    with private_slurm(settings=settings) as cluster:
        made = a_rig(cluster, tmp_path)
        rig = next(made)
        assert rig.engine.delays().wake_s in (0.0, 40.0)
        until_s = time.monotonic() + 60
        while "~" not in cluster.command("sinfo", "-h", "-o", "%t"):
            assert time.monotonic() < until_s
            time.sleep(0.2)

        assert rig.engine.delays().wake_s == 40.0
        handle = order(rig, "true")
        while not (wakes.exists() and "resume n1" in wakes.read_text()):
            assert time.monotonic() < until_s
            time.sleep(0.2)
        assert rig.engine.status(handle).state is State.QUEUED
        made.close()


def test_goodbye_of_a_script(rig):
    """The signals of a cancel reach the program once, though the batch script is told, too."""
    program = SAYS_GOODBYE.replace(
        'print("goodbye", flush=True)', 'print("goodbye", flush=True); time.sleep(1)'
    )
    handle = rig.start(program)
    rig.await_log(handle, "began")

    rig.engine.cancel(handle)

    rig.await_state(handle, State.CANCELLED)
    assert rig.whole_log(handle).count("goodbye") == 1


def test_interrupt(rig):
    """A program may be asked by SIGINT, which shells make their background programs ignore."""
    handle = rig.start(
        "import signal, time; print('began', flush=True); time.sleep(60)",
        checkpointing=Checkpointing(signal.SIGINT, 20.0),
    )
    rig.await_log(handle, "began")

    rig.engine.requeue(handle)

    rig.await_state(handle, State.HELD)
    assert "KeyboardInterrupt" in rig.whole_log(handle)


def test_no_shell_sees_the_words(rig):
    """Names and values that a shell would act on are words and nothing else; a name that is none is refused."""
    with pytest.raises(Refused, match="no name of an environment variable"):
        rig.engine.start(Order("job-2", ("true",), str(rig.folder), env={"A;touch x": "1"}))
    handle = order(
        rig, "echo", "$(touch x)", "`touch x`", "'; touch x; '", name="a\nb; touch x", key="k'; touch x #"
    )
    rig.await_state(handle, State.FINISHED)

    assert not (rig.folder / "x").exists()
    assert "$(touch x) `touch x` '; touch x; '" in rig.whole_log(handle)
    assert rig.again().find("k'; touch x #") == handle


def test_room(rig):
    """A worker is told what the cluster has in all."""
    assert rig.engine.room() == Resources(8, 8000 << 20, 0, 2)


def test_nodes(rig):
    """Each node says what it has; a job says on which it is, and one that is kept off a node runs on the other."""
    assert {name: has.cpus for name, has in rig.engine.nodes().items()} == {"n1": 4, "n2": 4}
    handle = order(rig, "sleep", "30", away=("n1",))
    rig.await_state(handle, State.RUNNING)

    told = rig.engine.status(handle)
    assert told.nodes == ("n2",)
    assert told.began_utc is not None
    assert abs((datetime.now(UTC) - told.began_utc).total_seconds()) < 300


def test_place(rig):
    """A job that waits for a node that others fill runs on another once it may; a held one is kept off nodes; one that runs stays."""
    fills = order(rig, "sleep", "60", key="k-1", resources=Resources(cpus=4), away=("n1",))
    rig.await_state(fills, State.RUNNING)
    waits = order(rig, "sleep", "60", key="k-2", resources=Resources(cpus=2), away=("n1",))
    held = order(rig, "sleep", "60", key="k-3", resources=Resources(cpus=2), held=True, away=("n1",))
    time.sleep(2)
    assert rig.engine.status(waits).state is State.QUEUED

    rig.engine.place(waits, ())
    rig.await_state(waits, State.RUNNING)
    assert rig.engine.status(waits).nodes == ("n1",)

    rig.engine.place(held, ("n2",))
    rig.engine.release(held)
    rig.await_state(held, State.RUNNING)
    assert rig.engine.status(held).nodes == ("n1",)
    with pytest.raises(Refused, match="runs already, so it cannot be placed"):
        rig.engine.place(held, ("n1",))


@pytest.mark.parametrize(
    ("argv", "fields", "says"),
    [
        (("sbatch", "--partition=none", "job.sh"), {}, "partition"),
        (("true",), {"resources": Resources(cpus=99)}, "not available"),
        (("true",), {"resources": Resources(cpus=5)}, "not available"),  # more than a node has
    ],
)
def test_asked_before(rig, cluster, argv, fields, says):
    """What the cluster would refuse is refused in its own words when it is asked, and nothing is submitted; the rest is not."""
    (rig.folder / "job.sh").write_text("#!/bin/sh\ntrue\n")
    with pytest.raises(Refused, match=says):
        rig.engine.check(Order("k", argv, str(rig.folder), **fields))
    rig.engine.check(Order("k", ("true",), str(rig.folder)))
    rig.engine.check(Order("k", ("sbatch", "job.sh"), str(rig.folder)))

    assert rig.engine.find("k") is None
