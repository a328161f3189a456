"""What arrives while a batch runs forms the next; one bad input spoils nobody's answer."""

from __future__ import annotations

import asyncio
import gc
import threading

import numpy as np

from joulewise.serving.engine import Engine, Job
from joulewise.serving.tensors import Refused, Spec


class Slow:
    """A double of a model: y = 2 x; it waits for `go`, remembers its batches and refuses what is negative."""

    name, version = "slow", "1"
    inputs: tuple[Spec, ...] = (Spec("x", "FP64", (None,)),)
    outputs = inputs
    batches = repeats = True
    waits = False

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.sizes: list[int] = []

    def run(self, tensors):
        self.go.wait(10)
        self.sizes.append(len(tensors[0]))
        if (tensors[0] < 0).any():
            raise Refused(422, "negative")
        return [tensors[0] * 2]


def job(*values, batches=True):
    return Job([np.array(values, float)], batches, lambda ys: b",".join(b"%d" % y for y in ys[0]))


async def answered(engine, one, deadline_s=10.0):
    engine.submit(one)
    return await one.wait(deadline_s)


def test_greedy_batches():
    """The first goes at once, alone; all that came meanwhile are the second batch; each gets its own answer."""

    async def scene():
        model = Slow()
        engine = Engine(model, target_s=60, limit_rows=64)
        model.go.clear()
        first = asyncio.create_task(answered(engine, job(1)))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(answered(engine, job(k, k))) for k in range(2, 12)]
        await asyncio.sleep(0.05)
        assert engine.load().waiting == 10
        assert engine.load().rows == 21
        model.go.set()
        outcomes = await asyncio.gather(first, *others)
        assert engine.load().rows == 0
        await engine.close()
        return model.sizes, [o.body for o in outcomes]

    sizes, bodies = asyncio.run(scene())
    assert sizes == [1, 20]
    assert bodies == [b"2", *(b"%d,%d" % (2 * k, 2 * k) for k in range(2, 12))]


def test_limit():
    """A batch has no more rows than the limit, and a model that does not batch gets one request a call."""

    async def scene(limit, batches):
        model = Slow()
        engine = Engine(model, target_s=60, limit_rows=limit)
        model.go.clear()
        tasks = [asyncio.create_task(answered(engine, job(k, batches=batches))) for k in range(9)]
        await asyncio.sleep(0.05)
        model.go.set()
        await asyncio.gather(*tasks)
        await engine.close()
        return model.sizes

    assert max(asyncio.run(scene(4, True))) == 4
    assert asyncio.run(scene(64, False)) == [1] * 9


def test_one_bad_input():
    """In a batch with an input that the model refuses, only that request is refused."""

    async def scene():
        model = Slow()
        engine = Engine(model)
        outcomes = await asyncio.gather(*(answered(engine, job(v)) for v in (1, -1, 3)))
        await engine.close()
        return outcomes

    good, bad, other = asyncio.run(scene())
    assert (good.body, other.body) == (b"2", b"6")
    assert bad.refused.status == 422


def test_deadline_and_deserted():
    """Who waits too long gets 504 in time, and what nobody waits for any more is not computed."""

    async def scene():
        model = Slow()
        engine = Engine(model)
        model.go.clear()
        first = asyncio.create_task(answered(engine, job(1)))
        await asyncio.sleep(0.05)
        late = await answered(engine, job(2), deadline_s=0.05)
        model.go.set()
        await first
        await engine.close()
        return late, model.sizes

    late, sizes = asyncio.run(scene())
    assert late.refused.status == 504
    assert sizes == [1]


def test_others_still_wait():
    """A job whose first waiter gave up is computed for the second, and knows its outcome afterwards."""

    async def scene():
        model, heard = Slow(), []
        engine = Engine(model)
        shared = Job([np.array([5.0])], True, lambda ys: b"%d" % ys[0][0], lambda _job, o: heard.append(o))
        model.go.clear()
        engine.submit(shared)
        patient = asyncio.create_task(shared.wait(10))
        hasty = await shared.wait(0.05)
        model.go.set()
        outcome = await patient
        again = await shared.wait(10)
        await engine.close()
        return hasty, outcome, again, heard

    hasty, outcome, again, heard = asyncio.run(scene())
    assert hasty.refused.status == 504
    assert outcome.body == b"10"
    assert again is outcome
    assert heard == [outcome]


def test_learns():
    """Each batch teaches what it cost; CPU seconds are shared out by rows."""
    clock = iter(range(1000))

    async def scene():
        seen = []
        engine = Engine(Slow(), cpu_s=lambda: next(clock), on_batch=lambda rows, s: seen.append((rows, s)))
        outcome = await answered(engine, job(1, 2))
        await engine.close()
        return engine, outcome, seen

    engine, outcome, seen = asyncio.run(scene())
    assert outcome.cpu_s == 1
    assert seen == [(2, 1)]
    assert engine.cpu_seconds.line().at(2) == 1
    assert engine.seconds_line is not None


def test_a_fault_of_ours():
    """A batch in which something unforeseen fails gets 500 and is told to the loop; those behind it are answered."""
    told = []

    class Faulty(Slow):
        def run(self, tensors):
            if (tensors[0] == 13).any():
                raise ZeroDivisionError
            return super().run(tensors)

    async def scene():
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context["exception"])
        )
        engine = Engine(Faulty(), limit_rows=1)
        outcomes = await asyncio.gather(*(answered(engine, job(v), 5) for v in (1, 13, 3)))
        assert engine.load().rows == 0
        again = await answered(engine, job(4))
        await engine.close()
        return [*outcomes, again]

    first, fault, behind, again = asyncio.run(scene())
    gc.collect()
    assert [o.body for o in (first, behind, again)] == [b"2", b"6", b"8"]
    assert fault.refused.status == 500
    assert [type(e) for e in told] == [ZeroDivisionError]
