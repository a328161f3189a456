"""Power limits, on a double of NVML."""

import pytest

from joulewise.training.limiting import limited, profiled
from joulewise.training.recurring import choose_limit
from joulewise.vocabulary.errors import UsageError


class NVMLError(Exception):
    pass


class Board:
    """A board of 100 to 300 W whose steps take longer below 200 W, and a clock that only steps move."""

    NVMLError = NVMLError

    def __init__(self, *, may=True, limit=250_000, counts=True) -> None:
        self.may, self.limit, self.counts = may, limit, counts
        self.now_s, self.used_mj, self.open = 0.0, 0.0, 0
        self.set: list[int] = []

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index):
        if index:
            raise NVMLError("Invalid Argument")
        return "board"

    def nvmlDeviceGetPowerManagementLimitConstraints(self, _board):
        return [100_000, 300_000]

    def nvmlDeviceGetPowerManagementLimit(self, _board):
        return self.limit

    def nvmlDeviceSetPowerManagementLimit(self, _board, milliwatts):
        if not self.may:
            raise NVMLError("Insufficient Permissions")
        self.limit = milliwatts
        self.set.append(milliwatts)

    def nvmlDeviceGetTotalEnergyConsumption(self, _board):
        if not self.counts:
            raise NVMLError("Not Supported")
        return self.used_mj

    def step(self):
        watts = self.limit / 1000
        seconds = 0.125 * max(1.0, 200 / watts)
        self.now_s += seconds
        self.used_mj += 1000 * seconds * min(watts, 280)


def test_each_limit_is_profiled():
    """Five limits from the most down, seconds a step and mean watts of each; the old limit is back and the library given back."""
    board = Board()
    found = profiled(board.step, nvml=board, clock=lambda: board.now_s)

    assert list(found) == [300, 250, 200, 150, 100]
    assert [w for pair in (found[300], found[100]) for w in pair] == pytest.approx([0.125, 280, 0.25, 100])
    assert choose_limit(found, slower=0.1) == (200, "29% fewer joules than at 300 W, +0% time")
    assert (board.limit, board.open) == (250_000, 0)


def test_the_limit_comes_back():
    """Also when a step fails, in a profile and in a context."""
    board = Board()

    def fails():
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"):
        profiled(fails, nvml=board, clock=lambda: board.now_s)
    with limited(150, nvml=board):
        assert board.limit == 150_000
    with pytest.raises(ValueError, match="out of memory"), limited(150, nvml=board):
        fails()

    assert board.set == [300_000, 250_000, 150_000, 250_000, 150_000, 250_000]
    assert (board.limit, board.open) == (250_000, 0)


@pytest.mark.parametrize(
    ("board", "given", "message"),
    [
        (
            Board(may=False),
            {"limits": [200]},
            "GPU 0 cannot be set to 200 W .Insufficient Permissions.: an administrator can",
        ),
        (Board(), {"limits": [500]}, "a limit of 500 W is given, but GPU 0 takes 100 to 300 W"),
        (
            Board(),
            {"device": 3},
            "the power limit of GPU 3 cannot be had: Invalid Argument; nothing was changed",
        ),
        (Board(counts=False), {}, "the power limit of GPU 0 cannot be had: Not Supported"),
        (Board(), {"seconds": 0}, "seconds is 0"),
    ],
)
def test_refuses(board, given, message):
    """What the board or its driver refuses is one line, and the limit is what it was."""
    with pytest.raises(UsageError, match=message):
        profiled(board.step, nvml=board, clock=lambda: board.now_s, **given)

    assert (board.limit, board.open) == (250_000, 0)
