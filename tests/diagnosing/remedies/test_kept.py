"""Items that are kept in memory."""

from __future__ import annotations

from typing import Any

import pytest

from joulewise.diagnosing.remedies.kept import Budget, Items, Kept, bytes_of, copy_of, free_bytes, may_be_kept

np = pytest.importorskip("numpy")


class Numbers:
    """Arrays by number, by name or by a pair; it notes what it makes."""

    def __init__(self, count: int = 8) -> None:
        self.count, self.add = count, 0
        self.made: list[Any] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        self.made.append(key)
        return np.full(4, self.add + (key if isinstance(key, int) else len(key))), "text"


class AtOnce(Numbers):
    """The same, several at once."""

    def __getitems__(self, keys: list[int]) -> list[Any]:
        self.made.append(tuple(keys))
        return [(np.full(4, key), "text") for key in keys]


def kept(dataset: Numbers, left: float = 1e9, *, copied: bool = True, holders: int = 1) -> tuple[Items, Kept]:
    items = Items(dataset, Budget(left), holders)
    return items, Kept(items, copied=copied)


def test_made_once():
    """An item is made once, and who writes into what he got does not change what the next one gets."""
    data = Numbers()
    _, items = kept(data)
    items[3][0][:] = -1

    assert items[3][0].tolist() == items[np.int64(3)][0].tolist() == [3, 3, 3, 3]
    assert data.made == [3]
    assert len(items) == 8


def test_no_copies():
    """Where collating copies anyway, the item itself is handed out."""
    _, items = kept(Numbers(), copied=False)

    assert items[2][0] is items[2][0]


@pytest.mark.parametrize("key", ["name", (1, 2), [1, 2]])
def test_other_keys(key):
    """What is no number is fetched as ever, every time, alone and in a batch."""
    data = Numbers()
    _, items = kept(data)
    found = [items[key][0][0], items.__getitems__([1, key])[1][0][0]]

    assert found == [len(key)] * 2
    assert data.made == [key, 1, key]


def test_many_at_once():
    """A data set that makes several at once is asked for those that are missing, in one call."""
    data = AtOnce()
    _, items = kept(data)
    items.__getitems__([1, 2])

    assert [item[0][0] for item in items.__getitems__([2, 5, 1, 6, 5])] == [2, 5, 1, 6, 5]
    assert data.made == [(1, 2), (5, 6, 5)]


def test_budget():
    """No more is kept than the budget allows, counted for each process that holds it; the rest is made anew."""
    each = bytes_of((np.zeros(4), "text")) + 100
    for holders, held in ((1, 3), (3, 1)):
        data = Numbers()
        items, source = kept(data, 3.5 * each, holders=holders)
        items.fill()
        data.made.clear()
        for number in range(8):
            assert source[number][0][0] == number
        assert len(data.made) == 8 - held


def test_whole():
    """It is told once when all items are kept."""
    items, source = kept(Numbers(3))
    told: list[int] = []
    items.whole = lambda: told.append(len(source))
    for number in (0, 1, 1, 2, 0, 2):
        _ = source[number]

    assert told == [3]


def test_changed_items():
    """A data set that gives other items from one pass to the next is noticed before the next pass."""
    data = Numbers()
    items, _ = kept(data)
    items.fill()
    before = np.random.get_state()[1].tolist()
    same = items.has_changed()
    data.add = 1

    assert (same, items.has_changed()) == (False, True)
    assert np.random.get_state()[1].tolist() == before


def test_copies_and_bytes():
    """Copies share nothing that can be written into, and the bytes are those of the numbers and of what is around them."""

    class Own:
        def __init__(self) -> None:
            self.array = np.zeros(1000)

    array, own = np.zeros(10), Own()
    copied = copy_of({"a": [array, 1.5, "text", None], "b": (own,)})
    copied["a"][0][:] = 1
    copied["b"][0].array[:] = 1

    assert (array.sum(), own.array.sum()) == (0, 0)
    assert bytes_of(np.zeros(1000)) == 8120
    assert bytes_of([own]) > 8000
    assert bytes_of(lambda: None) == float("inf")


def test_free_memory(monkeypatch):
    """Half of what is free may be kept, shared by the processes of a job on this machine."""
    monkeypatch.setattr("joulewise.diagnosing.remedies.kept.free_bytes", lambda: 800.0)
    alone = may_be_kept()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")

    assert (alone, may_be_kept()) == (400, 100)
    assert 0 < free_bytes() < 1e15


def test_control_groups(monkeypatch):
    """What a control group above has left is what is free: without the files that are cached for it."""
    files = {
        "/proc/meminfo": "MemAvailable: 1000 kB\n", "/proc/self/cgroup": "1:name=systemd:/\n0::/a/b\n",
        "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/b/memory.current": "9\n",
        "/sys/fs/cgroup/a/memory.max": "5000\n", "/sys/fs/cgroup/a/memory.current": "4500\n",
        "/sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 300\n",
    }  # fmt: skip
    monkeypatch.setattr("joulewise.diagnosing.remedies.kept._text", lambda path: files.get(path, ""))

    assert free_bytes() == 800
