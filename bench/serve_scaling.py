"""What forecasting replicas is worth: bursty traces replayed, minutes within the latency target and replica-hours beside an oracle's.

    serve_scaling.py [SEEDS]    three days of traffic each: a day's curve with a night at zero, noise, a dozen bursts a day

The oracle knows each minute beforehand. Beside ours: no forecast (the last seconds only, without past days), and a fixed number
of replicas that is enough for 99 % of the minutes.
"""

import math
import random
import sys

from joulewise.serving.scaling import DAY_MIN, Replica, Scaling, replay

REPLICA, SCALING = Replica(per_s=20.0, wake_s=1.0), Scaling()
DAYS, PEAK_PER_S = 3, 240.0


def poisson(draw, mean):
    if mean > 50:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, draw.random()
    while product > limit:
        count += 1
        product *= draw.random()
    return count


def trace(seed, days=DAYS):
    """Return arrivals by the second: the first days are history."""
    draw = random.Random(seed)
    bursts, level, arrivals = [], 1.0, []
    for second in range(days * 86_400):
        hour = second / 3600 % 24
        base = PEAK_PER_S * max(0.0, math.sin(math.pi * (hour - 6) / 18)) ** 2 if hour > 6 else 0.0
        if second % 60 == 0:
            level = 1 + 0.9 * (level - 1) + draw.gauss(0, 0.02)
        if draw.random() < 12 / 86_400:
            bursts.append((second, draw.uniform(15, 60), draw.uniform(120, 900), draw.uniform(0.5, 3.0)))
        extra = 0.0
        for at, ramp, lasts, size in bursts:
            if at <= second < at + lasts:
                extra += size * min(1.0, (second - at) / ramp, (at + lasts - second) / ramp)
        bursts = [one for one in bursts if second < one[0] + one[2]]
        arrivals.append(poisson(draw, base * level * (1 + extra)))
    return arrivals


def main():
    seeds = range(1, 1 + int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    print(f"{'seed':>4} {'within':>8} {'of oracle':>10} {'wakes':>6} | {'no past':>8} {'of oracle':>10}")
    for seed in seeds:
        arrivals = trace(seed)
        minutes = [sum(arrivals[k : k + 60]) for k in range(0, (DAYS - 1) * 86_400, 60)]
        today = arrivals[(DAYS - 1) * 86_400 :]
        assert len(minutes) == (DAYS - 1) * DAY_MIN
        with_past, without = (replay(today, REPLICA, SCALING, past) for past in (minutes, ()))
        print(
            f"{seed:4} {with_past.within / with_past.minutes:8.2%} {with_past.replica_s / with_past.oracle_s:10.3f} "
            f"{with_past.wakes:6} | {without.within / without.minutes:8.2%} {without.replica_s / without.oracle_s:10.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
