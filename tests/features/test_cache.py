"""Cached training data: computed once, never wrong, never torn, and mistakes are caught."""

from __future__ import annotations

import itertools
import json
import logging
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

np = pytest.importorskip("numpy")

from joulewise.features import cache  # noqa: E402
from joulewise.features.cache import cached, entries, evict  # noqa: E402
from joulewise.vocabulary.errors import UsageError  # noqa: E402

DATA = np.arange(600, dtype="float64").reshape(200, 3)
BUILDER = """
import sys, time
import numpy as np
from joulewise.features.cache import cached
SLOW_S = float(sys.argv[2])
def recipe(x):
    if SLOW_S:
        time.sleep(SLOW_S)
    return np.sqrt(x) + 1
data = np.arange(600, dtype="float64").reshape(200, 3)
print("begun", flush=True)
found = cached(data, recipe, folder=sys.argv[1], fingerprint="same", deterministic=False)
assert all(np.array_equal(found[n], np.sqrt(data[n]) + 1) for n in range(200))
print("hit" if found.hit else "built", found.why_not, flush=True)
"""


class Counted:
    """A dataset that counts how often it is asked, and whose fingerprint is told."""

    def __init__(self, rows) -> None:
        self.rows, self.asked = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, n) -> object:
        self.asked += 1
        return self.rows[n]


def root(x):
    return np.sqrt(x)


def asked(folder, data, recipe=root):
    """Return the cached data and how many items had to be computed for it."""
    counted = Counted(data)
    found = cached(counted, recipe, folder=folder, fingerprint=str(data[:3]))
    return found, counted.asked


def test_computed_once(tmp_path):
    """The second experiment computes a sample only; every item is bit for bit what the recipe gives."""
    first, computed = asked(tmp_path, DATA)
    second, again = asked(tmp_path, DATA)

    assert (first.hit, second.hit) == (False, True)
    assert computed >= 200
    assert again <= 2
    assert all(second[n].tobytes() == np.sqrt(DATA[n]).tobytes() for n in range(200))
    assert len(second) == 200
    assert [x.tolist() for x in second[198:]] == [x.tolist() for x in np.sqrt(DATA[198:])]
    assert second[-1].tolist() == np.sqrt(DATA[-1]).tolist()
    with pytest.raises(IndexError):
        second[200]


def test_changed_content_or_code(tmp_path):
    """Another value, another constant, another helper: another entry."""
    data = DATA.copy()
    made = [lambda x: x * 2, lambda x: x * 3]
    assert not cached(data, made[0], folder=tmp_path).hit
    assert cached(data, made[0], folder=tmp_path).hit
    assert not cached(data, made[1], folder=tmp_path).hit
    data[7, 1] += 1
    changed = cached(data, made[0], folder=tmp_path)

    assert not changed.hit
    assert changed[7].tolist() == (data[7] * 2).tolist()


def test_changed_file(tmp_path):
    """A dataset over files is another one when one of them has changed."""
    files = [tmp_path / f"{n}.txt" for n in range(5)]
    for n, file in enumerate(files):
        file.write_text(str(n))

    def read(path):
        return int(path.read_text())

    first = cached(files, read, folder=tmp_path / "cache")
    files[3].write_text("33")
    second = cached(files, read, folder=tmp_path / "cache")

    assert list(first) == [0, 1, 2, 3, 4]
    assert (second.hit, list(second)) == (False, [0, 1, 2, 33, 4])


def test_cause_that_the_fingerprint_does_not_see(tmp_path, caplog):
    """What the recipe reads behind the fingerprint's back is caught by the sample, and cached anew."""
    os.environ["JOULEWISE_TEST_FACTOR"] = "2"

    def hidden(x):
        return x * float(os.environ["JOULEWISE_TEST_FACTOR"])

    try:
        cached(DATA, hidden, folder=tmp_path).close()
        os.environ["JOULEWISE_TEST_FACTOR"] = "5"
        with caplog.at_level(logging.WARNING, "joulewise"):
            found = cached(DATA, hidden, folder=tmp_path)
    finally:
        del os.environ["JOULEWISE_TEST_FACTOR"]

    assert not found.hit
    assert found[9].tolist() == (DATA[9] * 5).tolist()
    assert "from a cause its fingerprint does not see" in caplog.text


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + random.random(),
        lambda x: x + np.random.rand(),
        lambda x: x * (1 + (random.random() < 1e-9)),
    ],
)
def test_random_recipe(tmp_path, draw):
    """A recipe that draws from a global source is refused, even where it hardly ever shows in the values."""
    with pytest.raises(
        UsageError, match=r"draws random numbers \((numpy.)?random\): leave random augmentation out"
    ):
        cached(DATA, draw, folder=tmp_path)
    assert entries(tmp_path) == []
    assert list(tmp_path.glob(".building*")) == []


def test_random_of_its_own(tmp_path):
    """A generator of the recipe's own, a counter and the time of day are found by computing a sample twice."""
    own, count = np.random.default_rng(0), itertools.count()
    for wrong in (
        lambda x: x + own.random(),
        lambda x: x + next(count),
        lambda x: x + time.perf_counter_ns(),
    ):
        with pytest.raises(
            UsageError, match=r"recipe (changes while it is used|gives other values).*then\(augment\)"
        ):
            cached(DATA, wrong, folder=tmp_path)


def test_seeded_recipe(tmp_path):
    """A recipe that seeds its random numbers itself is cached when it is said to be deterministic, and checked."""

    def seeded(x):
        random.seed(int(x[0]))
        return x + random.random()

    with pytest.raises(UsageError, match="deterministic=True"):
        cached(DATA, seeded, folder=tmp_path)
    random.seed(1)
    found = cached(DATA, seeded, folder=tmp_path, deterministic=True)

    assert found[4].tolist() == seeded(DATA[4]).tolist()
    with pytest.raises(UsageError, match="other values when it is computed twice"):
        cached(DATA, lambda x: x + random.random(), folder=tmp_path, deterministic=True)


def test_augmentation_comes_after(tmp_path):
    """A step added by `then` runs at every read and leaves the cache alone; steps run in their order."""
    base = cached(DATA, root, folder=tmp_path)
    random.seed(0)
    steps = base.then(lambda x: x + random.random()).then(lambda x: x * 10)
    one, two = steps[3], steps[3]

    assert not np.array_equal(one, two)
    assert base[3].tolist() == np.sqrt(DATA[3]).tolist()
    assert (one >= np.sqrt(DATA[3]) * 10).all()


def test_reading_draws_no_random_numbers(tmp_path):
    """Building and finding leave the program's random numbers as they were: training goes on as without the cache."""
    random.seed(3)
    np.random.seed(3)
    expected = random.Random(3).random()
    state = np.random.get_state()[1].tobytes()
    cached(DATA, root, folder=tmp_path)
    cached(DATA, root, folder=tmp_path)[5].sum()

    assert random.random() == expected
    assert np.random.get_state()[1].tobytes() == state


def test_training_is_the_same_bit_for_bit(tmp_path):
    """A model trained on cached data equals one trained without, bit for bit, in both runs."""

    def recipe(x):
        return (x - x.mean()) / (1 + x.std()), float(x.sum() % 2)

    def train(items):
        chance, weights = np.random.default_rng(0), np.zeros(3)
        for _ in range(3):
            for n in chance.permutation(200):
                x, y = items(n)
                weights -= 0.1 * (weights @ x - y) * x
        return weights.tobytes()

    without = train(lambda n: recipe(DATA[n]))

    assert train(cached(DATA, recipe, folder=tmp_path).__getitem__) == without
    assert train(cached(DATA, recipe, folder=tmp_path).__getitem__) == without


def test_items_are_copies(tmp_path):
    """Changing an item in place changes neither the cache nor the next epoch."""
    found = cached(DATA, root, folder=tmp_path)
    found[3][:] = -1

    assert found[3].tolist() == np.sqrt(DATA[3]).tolist()


def test_arrays(tmp_path):
    """All items together are one mapped array; ragged ones are stacked only on request."""
    found = cached(DATA, root, folder=tmp_path)

    assert np.array_equal(found.arrays[0], np.sqrt(DATA))
    assert np.array_equal(np.asarray(found), np.sqrt(DATA))
    assert not found.arrays[0].flags.writeable
    assert cached(DATA, lambda x: x[: int(x[0]) % 2], folder=tmp_path).arrays == [None]


def test_workers_get_the_place_only(tmp_path):
    """A pickled dataset is small and reads the same data."""
    found = cached(DATA, root, folder=tmp_path)
    found[0].sum()
    sent = pickle.dumps(found)

    assert len(sent) < 1000
    assert pickle.loads(sent)[9].tolist() == found[9].tolist()


def test_transformer(tmp_path):
    """A fitted scikit-learn transformer is applied once to the whole; refitted on other data it is another recipe."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = preprocessing.StandardScaler().fit(DATA)
    first = cached(DATA, scaler, folder=tmp_path)
    second = cached(DATA, preprocessing.StandardScaler().fit(DATA), folder=tmp_path)
    other = cached(DATA, preprocessing.StandardScaler().fit(DATA[:50]), folder=tmp_path)

    assert np.asarray(first).tobytes() == scaler.transform(DATA).tobytes()
    assert (second.hit, other.hit) == (True, False)


@pytest.mark.parametrize(
    ("data", "recipe", "message"),
    [
        (iter([1]), root, "it has no length"),
        (DATA, 3, "the recipe is 3, but must be a function of an item or have a method transform"),
        (
            DATA,
            lambda x: x if x[0] < 30 else x.astype("float32"),
            "item 10 of the recipe is array:<f4, items before it were array:<f8",
        ),
        (DATA, lambda _: object(), "item 0 of the recipe holds builtins.object"),
    ],
)
def test_refused(tmp_path, data, recipe, message):
    """What cannot be cached is refused in one line, and leaves nothing behind."""
    with pytest.raises(UsageError, match=message):
        cached(data, recipe, folder=tmp_path)
    assert not list(tmp_path.glob(".building*"))


def test_fault_of_the_recipe_passes(tmp_path):
    """An exception of the recipe is the user's own, and leaves nothing behind."""
    with pytest.raises(ZeroDivisionError):
        cached(DATA, lambda x: 1 / 0 if x[0] > 90 else x, folder=tmp_path)
    assert not list(tmp_path.glob(".building*"))


def test_empty(tmp_path):
    """A dataset without items is cached, too."""
    assert list(cached([], root, folder=tmp_path)) == []
    assert cached([], root, folder=tmp_path).hit


def test_source_that_changes_while_it_is_read(tmp_path):
    """A source that changes during the build starts it again; one that never rests is refused."""
    data, left = DATA.copy(), [1]

    class Restless:
        def __init__(self) -> None:
            self.rows = data

        def __len__(self) -> int:
            return 200

        def __getitem__(self, n) -> object:
            if n == 100 and LEFT:
                LEFT.pop()
                self.rows[3] += 1
            return self.rows[n]

    global LEFT  # noqa: PLW0603 - what the recipe changes is no part of the data
    LEFT = left
    found = cached(Restless(), root, folder=tmp_path)
    assert found[3].tolist() == np.sqrt(data[3]).tolist()
    LEFT = list(range(10_000))
    with pytest.raises(UsageError, match="the data changed while they were read, 3 times"):
        cached(Restless(), root, folder=tmp_path)


LEFT: list[int] = []


class TestEviction:
    def build(self, folder, n, **options):
        return cached(DATA, lambda x: x + n, folder=folder, **options)

    def test_oldest_first(self, tmp_path):
        """What was not used for longest goes first; what is in use stays."""
        for n in range(4):
            self.build(tmp_path, n).close()
        names = [e.name for e in entries(tmp_path)]
        for age, name in enumerate(names):
            os.utime(tmp_path / name / "meta.json", (1e9 - age, 1e9 - age))
        oldest = next(
            d for d in (self.build(tmp_path, n) for n in range(4)) if d.hit and d.folder.name == names[3]
        )
        os.utime(tmp_path / names[3] / "meta.json", (1, 1))
        size = entries(tmp_path)[0].bytes
        gone = evict(tmp_path, 2.5 * size)

        assert len(gone) == 2
        assert names[3] not in gone
        assert oldest[1] is not None
        assert len(entries(tmp_path)) == 2

    def test_bounded(self, tmp_path):
        """The folder stays below its limit however many experiments there are."""
        for n in range(6):
            self.build(tmp_path, n, limit_bytes=16_000).close()

        assert sum(e.bytes for e in entries(tmp_path)) <= 16_000

    def test_larger_than_the_cache(self, tmp_path, caplog):
        """What is larger than the cache may be is computed at every read, and said."""
        found = self.build(tmp_path, 1, limit_bytes=1000)

        assert "larger than the cache may be" in found.why_not
        assert found[5].tolist() == (DATA[5] + 1).tolist()
        assert "not cached" in caplog.text
        assert entries(tmp_path) == []


class TestCrash:
    def builder(self, folder, slow_s=0.0, **options):
        command = [sys.executable, "-c", BUILDER, str(folder), str(slow_s)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def test_two_writers(self, tmp_path):
        """Of several that want the same at once one builds, and the others wait for it."""
        builders = [self.builder(tmp_path, 0.002) for _ in range(3)]
        told = [b.communicate() for b in builders]

        assert sorted(out.split()[1] for out, _ in told) == ["built", "hit", "hit"], told
        assert len(entries(tmp_path)) == 1

    def test_without_locks(self, tmp_path, monkeypatch):
        """Where files cannot be locked, two may build the same: the first one's entry stays, and both read it."""
        others: list[Any] = []
        write = cache._write

        def meanwhile(*arguments):
            if not others:
                others.append(None)
                others.append(cached(DATA, root, folder=tmp_path))
            return write(*arguments)

        monkeypatch.setattr("fcntl.flock", lambda *_: None)
        monkeypatch.setattr(cache, "_write", meanwhile)
        found = cached(DATA, root, folder=tmp_path)

        assert found.hit
        assert found.folder == others[1].folder
        assert found[5].tolist() == np.sqrt(DATA[5]).tolist()
        assert not list(tmp_path.glob(".building*"))

    def test_killed_in_the_middle(self, tmp_path):
        """After `kill -9` in the middle nothing torn is found, and the next one builds it and cleans up."""
        for delay_s in (0.0, 0.05, 0.15):
            builder = self.builder(tmp_path, 0.002)
            assert builder.stdout is not None
            builder.stdout.readline()
            time.sleep(delay_s)
            os.kill(builder.pid, signal.SIGKILL)
            builder.communicate()
            assert entries(tmp_path) == []
        out, error = self.builder(tmp_path, 0.002).communicate()

        assert out.split()[1:] == ["built"], error
        assert list(tmp_path.glob(".*")) == []

    def test_torn_entry(self, tmp_path):
        """An entry with a file too short, or without its description, is built anew."""
        for damage in (
            lambda place: (place / "leaf-0.bin").write_bytes(b"short"),
            lambda place: (place / "meta.json").write_text("{"),
            lambda place: (place / "meta.json").unlink(),
            lambda place: (place / "leaf-0.bin").unlink(),
        ):
            found = cached(DATA, root, folder=tmp_path)
            found.close()
            assert found.folder is not None
            damage(found.folder)
            again = cached(DATA, root, folder=tmp_path)
            assert not again.hit
            assert again[7].tolist() == np.sqrt(DATA[7]).tolist()

    def test_other_format(self, tmp_path):
        """An entry of another format is not misread."""
        found = cached(DATA, root, folder=tmp_path)
        assert found.folder is not None
        meta = json.loads((found.folder / "meta.json").read_text())
        (found.folder / "meta.json").write_text(json.dumps({**meta, "format": 99}))

        assert not cached(DATA, root, folder=tmp_path).hit

    def test_disk_full(self, tmp_path):
        """On a full disk the items are computed at every read, with a word; nothing half is left; later it is cached."""
        out, error = self.builder(
            tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        ).communicate()

        assert "cannot write" in out, error
        assert "not cached, computed at every read instead" in error
        assert entries(tmp_path) == []
        assert list(tmp_path.glob(".building*")) == []
        assert self.builder(tmp_path).communicate()[0].split()[1:] == ["built"]

    def test_folder_that_cannot_be_written(self, tmp_path):
        """Where the folder cannot be made the items are computed at every read."""
        (tmp_path / "file").write_text("")
        found = cached(DATA, root, folder=tmp_path / "file" / "cache")

        assert "cannot write" in found.why_not
        assert found[4].tolist() == np.sqrt(DATA[4]).tolist()


@pytest.mark.slow
class TestTorch:
    def test_tensors(self, tmp_path):
        """Tensors come back as tensors, bit for bit, and a DataLoader with workers reads them."""
        torch = pytest.importorskip("torch")

        def recipe(n):
            return torch.full((2, 2), n / 3).to(torch.bfloat16), torch.tensor(n), torch.arange(n % 3)

        found = cached(range(10), recipe, folder=tmp_path)
        again = cached(range(10), recipe, folder=tmp_path)

        assert again.hit
        for n in range(10):
            assert all(
                torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found[n], recipe(n), strict=True)
            )
        plain = cached(range(10), lambda n: torch.full((2,), float(n)), folder=tmp_path)
        loader = torch.utils.data.DataLoader(plain, batch_size=5, num_workers=2)
        assert torch.cat(list(loader)).tolist() == [[float(n)] * 2 for n in range(10)]

    def test_random_tensors(self, tmp_path):
        """A recipe that draws from torch's random numbers is refused."""
        torch = pytest.importorskip("torch")

        with pytest.raises(UsageError, match=r"draws random numbers \(torch\)"):
            cached(range(10), lambda n: n * (1 + 0 * torch.rand(1)), folder=tmp_path)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_training_is_equal(self, tmp_path, workers):
        """A PyTorch dataset through the cache trains the model that it trains without, bit for bit, in a second experiment, too."""
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)

        class Pictures:  # a map-style dataset: it has a length, and gives items by number
            def __init__(self, count=96) -> None:
                self.raw = torch.randint(0, 256, (count, 8, 8), generator=torch.Generator().manual_seed(1))
                self.labels = (self.raw.float().mean((1, 2)) > 127.5).long()

            def __len__(self) -> int:
                return len(self.raw)

            def __getitem__(self, n) -> Any:
                return self.raw[n], int(self.labels[n])

        def prepare(item):
            picture, label = item
            large = picture.float().repeat_interleave(2, 0).repeat_interleave(2, 1)
            return ((large - large.mean()) / large.std()).unsqueeze(0), label

        class Prepared:
            def __len__(self) -> int:
                return 96

            def __getitem__(self, n) -> Any:
                return prepare(Pictures()[n])

        def trained(data):
            torch.manual_seed(5)
            model = torch.nn.Sequential(
                torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 2)
            )
            optimiser = torch.optim.Adam(model.parameters(), 1e-2)
            loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True, num_workers=workers)
            for _ in range(3):
                for x, y in loader:
                    optimiser.zero_grad()
                    torch.nn.functional.cross_entropy(model(x), y).backward()
                    optimiser.step()
            return model.state_dict()

        plain = trained(Prepared())
        first = cached(Pictures(), prepare, folder=tmp_path)
        second = cached(Pictures(), prepare, folder=tmp_path)
        through = [trained(first), trained(second)]

        assert (first.hit, second.hit) == (False, True)
        for state in through:
            assert all(torch.equal(plain[name], state[name]) for name in plain)


def test_only_looked_up(tmp_path):
    """With `build=False` nothing is built: items are computed at every read until somebody has built them."""
    looked = cached(DATA, np.sqrt, folder=tmp_path, build=False)
    built = cached(DATA, np.sqrt, folder=tmp_path)
    found = cached(DATA, np.sqrt, folder=tmp_path, build=False)

    assert (looked.hit, looked.why_not) == (False, "it is not there yet")
    assert (built.hit, found.hit) == (False, True)
    assert np.array_equal(looked[7], found[7])
