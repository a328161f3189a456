"""Counters are text that Prometheus reads, and an unknown value has no line."""

from __future__ import annotations

from joulewise.serving.metrics import Counters, Metric, text


def test_text():
    """Help, kind and samples; labels are escaped; None has no sample."""
    told = text(
        [
            Metric("a_total", "counter", "Counts.", [({"k": 'say "x"\\\n'}, 3), ({"k": "y"}, None)]),
            Metric("b", "gauge", "Shows.", [({}, 0.25)]),
        ],
        {"model": "m"},
    )
    assert told.splitlines() == [
        "# HELP joulewise_serve_a_total Counts.",
        "# TYPE joulewise_serve_a_total counter",
        r'joulewise_serve_a_total{model="m",k="say \"x\"\\\n"} 3',
        "# HELP joulewise_serve_b Shows.",
        "# TYPE joulewise_serve_b gauge",
        'joulewise_serve_b{model="m"} 0.25',
    ]


def test_unknown_is_not_zero():
    """An answer whose joules are not known is counted as such and adds nothing."""
    counters = Counters()
    counters.answered(200, 0.5, 0.1)
    counters.answered(429, None, None)

    assert (counters.joules, counters.grams, counters.unknown) == (0.5, 0.1, 1)
    assert counters.responses == {200: 1, 429: 1}
    assert counters.requests == 2
