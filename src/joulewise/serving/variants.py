"""Who answers which request: what the request names, the canary's share, or the policy's choice, looked at now and then.

x-variant: int8              that variant, or 400
x-quality-at-least: 0.91     the cheapest that is worth so much, or 400
(nothing)                    the canary's share of the time the canary, else what the policy chose
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np

from joulewise.serving.canary import Bar, Comparison, Course, Side, judge
from joulewise.serving.choosing import Hour, Option, Policy, choose
from joulewise.serving.exchange import Exchange
from joulewise.serving.folder import ModelFolder
from joulewise.serving.tensors import Refused, Tensor
from joulewise.vocabulary.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from joulewise.serving.endpoint import Endpoint, Hosted

_LOOK_EVERY_S = 10.0
_SHADOW_EVERY = 4  # of the canary's answers: so many are computed by the incumbent, too
_DAY_S = 86_400.0
_NEAR = 0.05  # numbers that differ by less than this share of the largest are the same answer


@final
class Variants:
    """Chooses between the variants of one endpoint.

    `g_per_kwh` tells the grid's intensity now, `spent_j` the joules of this serving period, `told` hears of each switch.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: Sequence[Option],
        policy: Policy,
        *,
        told: Callable[[str], None] = lambda _note: None,
        g_per_kwh: Callable[[], float | None] = lambda: None,
        spent_j: Callable[[], float] = lambda: 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current = endpoint.default
        self.policy = policy
        self.switches = 0
        self._endpoint = endpoint
        self._options = {one.name: one for one in options}
        self._told, self._g_per_kwh, self._spent_j, self._clock_s = told, g_per_kwh, spent_j, clock_s
        self._looks = len(options) > 1 and policy != Policy(latency_target_s=policy.latency_target_s)
        self._began_s = self._look_s = clock_s()
        self._switched_s = -_DAY_S
        self._tight = False
        self._seen = (0, 0)
        self.canary = ""
        self._share = self._due = 0.0
        self._bar = Bar()
        self._compared = self._agreed = self._shadows = 0
        self._before: dict[str, Side] = {}
        if policy.floor is not None and not any(
            one.quality is not None and one.quality >= policy.floor for one in options
        ):
            raise UsageError(f"no variant of {endpoint.name} is known to be worth {abs(policy.floor):g}")
        if self._looks:
            self._look(first=True)

    def pick(self, exchange: Exchange) -> str:
        """Return the variant that answers an exchange. Raises Refused (400)."""
        told = exchange.headers.get(b"x-variant")
        if told is not None:
            return self._named(told.decode("latin-1"))
        least = exchange.headers.get(b"x-quality-at-least")
        if least is not None:
            return self._worth(least)
        if self._looks and self._clock_s() >= self._look_s:
            self._look()
        if self.canary:
            self._due += self._share
            if self._due >= 1:
                self._due -= 1
                return self.canary
        return self.current

    def _named(self, name: str) -> str:
        if name not in self._options:
            raise Refused(400, f"x-variant is {name[:80]!r}, but the variants are {', '.join(self._options)}")
        return name

    def _worth(self, told: bytes) -> str:
        try:
            least = float(told)
        except ValueError:
            raise Refused(400, f"x-quality-at-least is {told[:20]!r}, but must be a number") from None
        fitting = [one for one in self._options.values() if one.quality is not None and one.quality >= least]
        if not fitting:
            raise Refused(400, f"no variant is known to be worth {least:g}")
        return choose(fitting, Policy(), Hour(rows=self._rows()), "").name

    def _rows(self) -> float:
        """Return the mean rows of the batches so far."""
        counters = self._endpoint.counters
        return counters.rows / counters.batches if counters.batches else 1.0

    def _look(self, *, first: bool = False) -> None:
        now_s = self._clock_s()
        self._look_s = now_s + _LOOK_EVERY_S
        hour = Hour(
            rows=self._rows(),
            g_per_kwh=self._g_per_kwh(),
            spent_j=self._spent_j(),
            day_share=min(1.0, (now_s - self._began_s + _LOOK_EVERY_S) / _DAY_S),
            held_s=now_s - self._switched_s,
            tight=self._tight,
        )
        choice = choose(list(self._options.values()), self.policy, hour, "" if first else self.current)
        self._tight = choice.tight
        if choice.name != self.current and (first or self._endpoint.warm(choice.name)):
            self._switch(choice.name, choice.why, now_s)

    def _switch(self, name: str, why: str, now_s: float) -> None:
        self._told(f"{self._endpoint.name}: {name} answers from now on, before it was {self.current} ({why})")
        self.current, self._switched_s = name, now_s
        self._endpoint.default = name
        self.switches += 1

    # the canary

    def begin(self, canary: str, share: float, bar: Bar | None = None) -> None:
        """Let a canary answer a share of the requests. Raises UsageError."""
        if canary not in self._options:
            raise UnknownName("variant", canary, self._options)
        if not 0 < share < 1:
            raise UsageError(
                f"the canary's share is {share:g}, but must be between 0 and 1, for instance 0.05"
            )
        if canary == self.current:
            raise UsageError(f"the canary {canary} is what answers anyway")
        self.canary, self._share, self._bar = canary, share, bar or Bar()
        self._before = {name: self._side(name) for name in (canary, self.current)}

    def shadow(self, one: Hosted) -> Hosted | None:
        """Return the incumbent if it should compute, too, what this variant is about to: now and then, for the canary."""
        if one.variant.name != self.canary:
            return None
        self._shadows += 1
        incumbent = self._endpoint.hosted[self.current]
        return incumbent if self._shadows % _SHADOW_EVERY == 0 and incumbent.engine is not None else None

    def compare(self, canary: Sequence[Tensor], incumbent: Sequence[Tensor]) -> None:
        """Count whether both gave the same answer, and let the canary go on, take over, or end."""
        self._compared += 1
        self._agreed += all(map(same, canary, incumbent))
        self.review()

    def review(self) -> None:
        """Let the canary go on, take over, or end."""
        if not self.canary:
            return
        found = judge(self.comparison, self._bar)
        if found.course is Course.GO_ON:
            return
        canary, self.canary = self.canary, ""
        self._told(f"{self._endpoint.name}: the canary {canary} {found.course}: {found.why}")
        if found.course is Course.PROMOTE:
            self._switch(canary, "promoted", self._clock_s())
            self._looks = False  # the user's canary is the user's choice: no policy undoes it

    @property
    def comparison(self) -> Comparison:
        """Return what both sides have done since the canary began."""
        sides = {}
        for name, before in self._before.items():
            now = self._side(name)
            sides[name] = Side(
                now.answers - before.answers,
                now.errors - before.errors,
                now.rows - before.rows,
                now.model_cpu_s - before.model_cpu_s,
            )
        canary, incumbent = sides.values()
        return Comparison(incumbent, canary, self._compared, self._agreed)

    def _side(self, name: str) -> Side:
        counters = self._endpoint.hosted[name].counters
        return Side(counters.misses, counters.refused, counters.rows, counters.model_cpu_s)


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two outputs say the same: the same classes where a row holds scores, else nearly the same numbers."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    if one.ndim >= 2 and 1 < one.shape[-1] <= _CLASSES:
        return bool(np.array_equal(one.argmax(-1), other.argmax(-1)))
    largest = float(np.abs(other).max(initial=0.0))
    return bool(np.allclose(one, other, rtol=0, atol=_NEAR * largest + 1e-12, equal_nan=True))


_CLASSES = 10_000  # more numbers in a row than this are no scores of classes


def options(folder: ModelFolder) -> list[Option]:
    """Return a folder's variants as the decision sees them; qualities turned round where lower is better."""
    sign = -1.0 if folder.lower_is_better else 1.0
    return [
        Option(
            one.name,
            None if one.quality is None else sign * one.quality.value,
            one.joules,
            one.seconds,
            one.device,
        )
        for one in folder.variants
    ]


def turned(folder: ModelFolder, policy: Policy) -> Policy:
    """Return a policy in the sense of `options`: its qualities turned round where lower is better."""
    if not folder.lower_is_better:
        return policy
    return replace(
        policy,
        wanted=None if policy.wanted is None else -policy.wanted,
        floor=None if policy.floor is None else -policy.floor,
    )
