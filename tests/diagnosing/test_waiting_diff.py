"""The diff for a service that polls its queue: what it changes, and that the changed service answers the same."""

from __future__ import annotations

import pytest

from joulewise.diagnosing.waiting_diff import waiting_diff
from tests.diagnosing.test_validation_diff import applied, seen

SERVICE = """\
import queue
import threading

asked, answers, rounds = queue.Queue(), queue.Queue(), [0]


def work():
    while True:
        rounds[0] += 1
        try:
            number, reply = asked.get_nowait()  # the next one
        except queue.Empty:
            continue
        if number is None:
            return
        reply.put(number * 2)


thread = threading.Thread(target=work)
thread.start()
threading.Event().wait(0.2)
asked.put((21, answers))
answer = answers.get()
asked.put((None, None))
thread.join()
print(answer, rounds[0] < 10)
"""


@pytest.mark.parametrize("poll", ["get_nowait()", "get(False)", "get(block=False)"])
def test_waits(tmp_path, poll):
    """The queue is waited for; the answers are the same, and the loop goes round for them only."""
    source = SERVICE.replace("get_nowait()", poll)
    diff = waiting_diff(source, seen(), "train.py")

    assert diff is not None
    assert "+            number, reply = asked.get(timeout=1.0)  # the next one\n" in diff
    assert applied(source, diff, tmp_path) == "42 True"


@pytest.mark.parametrize(
    "source",
    [
        SERVICE.replace("            continue", "            rounds[0] += 1"),
        SERVICE.replace("queue.Empty", "asyncio.QueueEmpty"),
        SERVICE.replace("queue.Empty", "Exception"),
        SERVICE.replace("get_nowait()", "get(timeout=0.1)"),
        SERVICE.replace("get_nowait()", "get(True)"),
        SERVICE.replace("rounds[0] += 1", "beat(rounds)"),
        SERVICE.replace("            continue", "            pass"),
        SERVICE.replace("            number, reply", "            beat(rounds)\n            number, reply"),
        SERVICE.replace("    while True", "    if True").replace("continue", "pass"),
        SERVICE + SERVICE,
        "def work(:",
        "",
    ],
)
def test_what_cannot_be_read(source):
    """A loop with other work to do, another queue, one that waits already, or two loops get no diff."""
    assert waiting_diff(source, seen(), "serve.py") is None
