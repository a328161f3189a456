"""Shuffled batches, made at once, ahead, or by workers."""

import pytest

from joulewise.training.feeding import Batches, in_memory, rows, waiting
from joulewise.vocabulary.errors import UsageError

torch = pytest.importorskip("torch")


class Squares(torch.utils.data.Dataset):  # type: ignore[name-defined, misc, unused-ignore] # torch comes by importorskip
    def __len__(self) -> int:
        return 20

    def __getitem__(self, i):  # noqa: ANN204 - a test's
        return torch.tensor([float(i)]), torch.tensor(i * i)


PAIR = (torch.arange(20.0).view(20, 1), torch.arange(20) ** 2)


class TestBatches:
    @pytest.mark.parametrize("data", [PAIR, Squares()], ids=["tensors", "dataset"])
    @pytest.mark.parametrize("ahead", [0, 2])
    def test_every_sample_once(self, data, ahead):
        """An epoch has each sample at most once, pairs stay together, and the next epoch has another order."""
        batches = Batches(data, 6, ahead=ahead, seed=3)
        epochs = [[(x.flatten(), y) for x, y in batches] for _ in range(2)]

        assert len(epochs[0]) == len(batches) == 3
        for epoch in epochs:
            seen = torch.cat([x for x, _ in epoch])
            assert len(seen.unique()) == 18
            assert all(torch.equal(x.long() ** 2, y) for x, y in epoch)
        assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
        assert batches.waited_s > 0

    def test_seeded(self):
        """The same seed gives the same order."""
        one, other = ([y.tolist() for _, y in Batches(PAIR, 5, seed=1)] for _ in range(2))

        assert one == other

    def test_workers(self):
        """Worker processes make the same batches."""
        assert sorted(y for _, b in Batches(Squares(), 10, workers=1) for y in b.tolist()) == [
            i * i for i in range(20)
        ]

    @pytest.mark.parametrize("ahead", [0, 2])
    def test_transform(self, ahead):
        """The transform sees whole batches, and waits where it is told to."""
        batches = Batches(PAIR, 10, transform=lambda x: x + 100, transforming=False, ahead=ahead)
        assert max(float(x.max()) for x, _ in batches) < 20
        batches.transforming = True

        assert min(float(x.min()) for x, _ in batches) >= 100

    @pytest.mark.parametrize("ahead", [0, 2])
    def test_errors_come_out(self, ahead):
        """What fails while a batch is made ahead fails in the loop."""
        with pytest.raises(ZeroDivisionError):
            next(iter(Batches(PAIR, 5, transform=lambda x: x / (1 // 0), ahead=ahead)))

    def test_left_early(self):
        """Leaving the loop early ends the thread that makes batches ahead."""
        import threading

        for _ in zip(range(1), Batches(PAIR, 1, ahead=2), strict=False):
            pass
        for thread in threading.enumerate():
            if thread.name == "joulewise-feeding":
                thread.join(5)
                assert not thread.is_alive()

    def test_memory_format(self):
        """Pictures come in the model's memory format."""
        x, _ = next(iter(Batches((torch.randn(4, 3, 8, 8), torch.arange(4)), 2, channels_last=True)))

        assert x.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Batches(PAIR, 0), "batch_size is 0"),
            (lambda: Batches(PAIR, 21), "must be 1 to 20"),
            (lambda: Batches(PAIR, 2, workers=-1), "workers is -1"),
            (lambda: in_memory((torch.ones(2), torch.ones(3))), "2 and 3 rows"),
            (lambda: in_memory((torch.ones(0), torch.ones(0))), "empty"),
            (lambda: rows([]), "empty"),
            (lambda: rows(3), "data is a int"),
        ],
    )
    def test_refuses(self, make, message):
        """What cannot be fed is refused in one line."""
        with pytest.raises(UsageError, match=message):
            make()


class TestWaiting:
    def test_share(self, monkeypatch):
        """A transform of three seconds before a step of one is three quarters of the time waited, whatever the first cost."""
        now = [0.0]
        monkeypatch.setattr("joulewise.training.feeding.time.perf_counter", lambda: now[0])

        def lasts(seconds):
            now[0] += seconds

        def slow(x):
            lasts(3.0)
            return x

        steps = iter([100.0] + [1.0] * 50)
        before = waiting(Batches(PAIR, 5, transform=slow), lambda _x, _y: lasts(next(steps)), steps=6)

        assert before == 0.75
        assert waiting(Batches(PAIR, 5), lambda _x, _y: lasts(1.0), steps=6) == 0
        with pytest.raises(UsageError, match="steps is 0"):
            waiting(Batches(PAIR, 5), print, steps=0)
