"""Requests, policies and canaries choose between the variants of a folder; each switch is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from joulewise.serving.canary import Bar
from joulewise.serving.choosing import Policy
from joulewise.serving.endpoint import Limits
from joulewise.serving.folder import ModelFolder, Quality, Variant
from joulewise.serving.hosting import host
from joulewise.serving.variants import same
from joulewise.vocabulary.errors import UsageError
from tests.serving import models
from tests.serving.asking import ask, x


def variant(path, quality, joules):
    return Variant(path.stem, path, quality=Quality(quality, quality, quality), joules={1: joules})


@pytest.fixture
def folder(tmp_path):
    """Three variants: fine (2 x), coarse (2.02 x: nearly the same) and wrong (-2 x)."""
    made = [models.double(tmp_path, by, name) for by, name in ((2, "fine"), (2.02, "coarse"), (-2, "wrong"))]
    return ModelFolder(
        tmp_path, "m", tuple(map(variant, made, (0.92, 0.90, 0.5), (4.0, 2.0, 1.0))), metric="accuracy"
    )


def answers(service, count=1, **headers):
    async def scene():
        told = []
        for k in range(count):
            told.append(await ask(service, body=x((k, 2, 3)), headers=headers))
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        return told

    return asyncio.run(scene())


def by(answer):
    return answer.headers["x-variant"].split("@")[0]


def test_requests_choose(folder):
    """A request names its variant or the quality that it needs; what it cannot have is 400; v2 takes it as the version."""
    service = host([folder], Limits())
    assert by(answers(service)[0]) == "fine"
    assert by(answers(service, **{"x-variant": "coarse"})[0]) == "coarse"
    assert by(answers(service, **{"x-quality-at-least": "0.7"})[0]) == "coarse"
    for headers in ({"x-variant": "none"}, {"x-quality-at-least": "0.99"}, {"x-quality-at-least": "much"}):
        assert answers(service, **headers)[0].status == 400
    told = asyncio.run(ask(service, path="/models/m/wrong/predict", body=x((1, 2, 3))))
    assert told.json() == {"outputs": {"y": [[-2.0, -4.0, -6.0]]}}


def test_one_variant_is_asked_for_too(folder):
    """A model that has one variant says so where another is named, or a quality that it is not known to have."""
    only = replace(folder, variants=folder.variants[:1])
    service = host([only], Limits())
    for headers, status in (
        ({}, 200),
        ({"x-variant": "fine"}, 200),
        ({"x-quality-at-least": "0.9"}, 200),
        ({"x-variant": "coarse"}, 400),
        ({"x-quality-at-least": "0.99"}, 400),
    ):
        assert answers(service, **headers)[0].status == status
    with pytest.raises(UsageError, match=r"no variant of m is known to be worth 0\.95"):
        host([only], Limits(), policy=Policy(floor=0.95))


def test_loaded_is_used(folder):
    """A variant that was just loaded has not been idle since the clock began: it is not unloaded at once."""
    before_s = time.monotonic()
    service = host([folder], Limits())
    assert service.endpoints["m"].hosted["fine"].used_s >= before_s


def test_policy(folder):
    """The policy's variant answers from the start, and a dirty hour switches to the floor's; both are told."""
    notes: list[str] = []
    grams = [300.0]
    service = host(
        [folder],
        Limits(),
        policy=Policy(wanted=0.92, floor=0.9, dirty_g_per_kwh=400, hold_s=0),
        g_per_kwh=lambda: grams[0],
        told=notes.append,
    )
    chooser = service.endpoints["m"].variants
    assert by(answers(service)[0]) == "fine"
    grams[0] = 500.0
    chooser._look_s = 0.0
    answers(service, 2)
    chooser._look_s = 0.0  # by now it is loaded
    assert by(answers(service)[0]) == "coarse"
    assert notes == [
        "m: coarse answers from now on, before it was fine (500 g/kWh are above 400: it saves 50 % of the joules)"
    ]
    with pytest.raises(UsageError, match=r"no variant of m is known to be worth 0\.99"):
        host([folder], Limits(), policy=Policy(floor=0.99))


@pytest.mark.parametrize(
    ("canary", "says", "then"), [("coarse", "is promoted", "coarse"), ("wrong", "is rolled back", "fine")]
)
def test_canary(folder, canary, says, then):
    """A canary has its share; one that says the same is promoted, one that does not is rolled back; both are told why."""
    notes: list[str] = []
    service = host([folder], Limits(cache_bytes=0), told=notes.append)
    service.endpoints["m"].variants.begin(canary, 0.25, Bar(agreement=0.9, joules=1000))
    assert [by(one) for one in answers(service, 8)].count(canary) == 2
    for _ in range(40):
        answers(service, 100)
        if notes:
            break
    assert f"the canary {canary} {says}" in notes[0]
    assert by(answers(service)[0]) == then


def test_wrong_canaries(folder):
    """A canary that is unknown, has no sensible share, or answers anyway is refused."""
    for canary in (("none", 0.1), ("coarse", 1.5), ("fine", 0.1)):
        with pytest.raises(UsageError):
            host([folder], Limits(), canary=canary)


def test_same():
    """Scores agree by their class, numbers by their size."""
    assert same(np.array([[0.1, 0.9]]), np.array([[0.4, 0.6]]))
    assert not same(np.array([[0.1, 0.9]]), np.array([[0.6, 0.4]]))
    assert same(np.array([[1.0]]), np.array([[1.04]]))
    assert not same(np.array([[1.0]]), np.array([[1.1]]))
    assert not same(np.array([1]), np.array([2]))
    assert not same(np.ones((1, 2)), np.ones((1, 3)))
