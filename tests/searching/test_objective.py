"""The objective, an epoch at a time."""

from __future__ import annotations

import pytest

from joulewise.searching.objective import Driver, Handle, TrialFailed


def drive(objective, until=3, epochs=9, driver=None):
    """Advance by `until` epochs; return the values and the driver."""
    driver = driver or Driver(objective, Handle(0, {"x": 2}, epochs))
    values: list[float] = []

    def take(value):
        values.append(value)
        return len(values) < until

    driver.advance(lambda: True, take)
    return values, driver


def test_generator_goes_on():
    """A generator stands still where it yielded and goes on from there."""

    def objective(trial):
        for epoch in trial.epochs():
            yield epoch * trial["x"]

    first, driver = drive(objective)
    then, _ = drive(objective, 2, driver=driver)

    assert first == [2, 4, 6]
    assert then == [8, 10]
    assert driver.resumes_at == 5
    assert driver.close() == ""


def test_function_goes_on_from_its_checkpoint():
    """A function that saves is called again with what it saved, and trains no epoch twice."""
    trained = []

    def objective(trial):
        state = trial.saved or {"steps": 0}
        for epoch in trial.epochs():
            trained.append(epoch)
            state = {"steps": state["steps"] + 1}
            trial.report(state["steps"])
            trial.save(state)

    first, driver = drive(objective)
    then, _ = drive(objective, 2, driver=driver)

    assert (first, then, trained) == ([1, 2, 3], [4, 5], [1, 2, 3, 4, 5])


def test_function_without_checkpoint_repeats():
    """A function that saves nothing starts again, and says so by `resumes_at`."""

    def objective(trial):
        for epoch in trial.epochs():
            trial.report(epoch)

    _, driver = drive(objective)
    assert driver.resumes_at == 0

    again, _ = drive(objective, 5, driver=driver)
    assert again == [1, 2, 3, 4, 5]


def test_broad_handler_does_not_keep_it():
    """A function that catches every Exception around its epochs can still be paused."""

    def objective(trial):
        epochs = trial.epochs()
        while True:
            try:
                epoch = next(epochs)
            except StopIteration:
                return
            except Exception:
                continue
            trial.report(epoch)

    assert drive(objective)[0] == [1, 2, 3]


def raises(trial):
    yield 1.0
    raise ValueError("shape\nmismatch")


def reports_nan(trial):
    yield float("nan")


def never(trial):
    if trial.number > 5:
        yield 1.0


def never_calls(trial):
    return None


def out_of_order(trial):
    trial.report(0.5, epoch=2)


def word(trial):
    yield "good"


def skips(trial):
    for _ in trial.epochs():
        pass


def both(trial):
    trial.report(1.0)
    yield 1.0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (raises, "^ValueError at epoch 2: shape$"),
        (reports_nan, "^it reported nan at epoch 1$"),
        (never, "^it ended without reporting a value"),
        (never_calls, "^it ended without reporting a value"),
        (out_of_order, "^it reported epoch 2 where epoch 1 was due"),
        (word, "^it reported 'good' at epoch 1, which is not a number$"),
        (skips, "^epoch 1 ended without a report"),
        (both, "^a generator reports by yield"),
    ],
)
def test_fails_in_one_line(objective, message):
    """Whatever an objective does wrong fails its trial in one line."""
    with pytest.raises(TrialFailed, match=message) as failure:
        drive(objective)

    assert "\n" not in str(failure.value)


def test_checkpoint_that_cannot_be_read():
    """A function that cannot read its checkpoint fails where it was to go on, in one line."""

    def objective(trial):
        if trial.saved:
            raise OSError("cannot read model.pt")
        for epoch in trial.epochs():
            trial.report(epoch)
            trial.save("model.pt")

    _, driver = drive(objective)

    with pytest.raises(TrialFailed, match=r"^OSError at epoch 4: cannot read model\.pt$"):
        drive(objective, driver=driver)


def test_close_tells():
    """A generator that raises when it is closed is told of, and loses nothing."""

    def objective(trial):
        try:
            yield 1.0
        finally:
            raise RuntimeError("no")

    _, driver = drive(objective, 1)

    assert driver.close() == "trial 0 could not be closed: RuntimeError: no"


def test_pair():
    """A generator may yield the pair of epoch and value."""

    def objective(trial):
        yield 1, 0.25
        yield 3, 0.5

    with pytest.raises(TrialFailed, match="it reported epoch 3 where epoch 2 was due"):
        drive(objective)
