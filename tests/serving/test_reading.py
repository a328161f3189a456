"""A slow body is refused in time; a fast one and a cancelled one are left alone."""

from __future__ import annotations

import asyncio
import time

import pytest

from joulewise.serving.reading import Readers
from joulewise.serving.tensors import Refused


def test_slow():
    """A body that does not come is 408 after one to one and a half times its time, and the task can go on."""

    async def scene():
        readers = Readers(0.1)
        began_s = time.monotonic()
        with pytest.raises(Refused) as caught, readers.reading():
            await asyncio.sleep(30)
        took_s = time.monotonic() - began_s
        await asyncio.sleep(0)  # would raise if the task were still cancelled
        return caught.value.status, took_s, len(readers), asyncio.current_task().cancelling()

    status, took_s, left, cancelling = asyncio.run(scene())
    assert (status, left, cancelling) == (408, 0, 0)
    assert 0.1 <= took_s < 5


def test_each_by_its_own_time():
    """Of many that read together only those that take too long are refused."""

    async def read(readers, seconds):
        try:
            with readers.reading():
                await asyncio.sleep(seconds)
        except Refused:
            return "slow"
        return "read"

    async def scene():
        readers = Readers(0.2)
        return await asyncio.gather(*(read(readers, s) for s in (0, 0.01, 30, 0.02, 30)))

    assert asyncio.run(scene()) == ["read", "read", "slow", "read", "slow"]


def test_cancelled_by_others():
    """A task that somebody else cancels is cancelled, not called slow."""

    async def scene():
        readers = Readers(10)

        async def read():
            with readers.reading():
                await asyncio.sleep(30)

        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        assert len(readers) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(readers)

    assert asyncio.run(scene()) == 0
