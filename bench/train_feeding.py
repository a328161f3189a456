"""CPU seconds of preparing samples one by one and a batch at a time, with an equal output (goal: at least 5 times less).

    python bench/train_feeding.py      # needs torch and Pillow

Five pipelines as one writes them in a dataset's `__getitem__`; what `vectorise` finds for those that draw nothing, and
`RandomCrop` and `RandomFlip` for the tutorial's augmentation, compared under the very same draws. Both sides in this run, the
least of three rounds each, over 30 epochs; the whole side includes stacking nothing: its samples lie in memory, as a training set's do.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SAMPLES, EPOCHS = 2048, 30
MEAN, DEVIATION = 0.2860, 0.3530


def least(work: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """Return the least CPU seconds of some rounds, and what came out."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        out = work()
        seconds.append(time.process_time() - began)
    return min(seconds), out


def main() -> None:
    import torch
    from PIL import Image, ImageOps

    from joulewise.training.vectorising import RandomCrop, RandomFlip, vectorise

    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (SAMPLES, 28, 28), dtype=np.uint8)

    def scale(picture):
        return (picture.astype(np.float32) / 255 - MEAN) / DEVIATION

    def standardise(picture):
        return (picture - picture.mean()) / (picture.std() + 1e-6)

    means, deviations = (torch.tensor(v).view(3, 1, 1) for v in ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)))

    def centre(picture):
        return (picture.permute(2, 0, 1)[:, 4:28, 4:28].float() / 255 - means) / deviations

    def tidy(row):
        return {
            "age": (row["age"] - 40) / 12,
            "income": np.log1p(row["income"]),
            "per_person": row["income"] / np.maximum(row["household"], 1),
            "far": np.where(row["distance"] > 30, 1.0, 0.0),
        }

    rows = [
        {
            "age": float(a),
            "income": float(i),
            "household": float(h),
            "distance": float(d),
        }
        for a, i, h, d in zip(
            draw.integers(18, 90, SAMPLES),
            draw.gamma(2, 2e4, SAMPLES),
            draw.integers(1, 6, SAMPLES),
            draw.exponential(20, SAMPLES),
            strict=True,
        )
    ]
    print(f"{'pipeline':34} {'by':12} {'us an item':>10} {'now':>8} {'times less':>10} equal")
    colours = [torch.from_numpy(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(SAMPLES)]
    floats = [torch.tensor(p, dtype=torch.float32) for p in pictures]
    ratios = []
    for name, function, items in (
        ("scale and normalise (numpy)", scale, list(pictures)),
        ("centre crop, normalise (torch)", centre, colours),
        ("standardise each picture (torch)", standardise, floats),
        ("a table's row (mappings)", tidy, rows),
    ):
        found = vectorise(function, items, epochs=EPOCHS)
        ratio = found.per_item_s / found.now_s
        ratios.append(ratio)
        print(
            f"{name:34} {found.way:12} {1e6 * found.per_item_s:10.2f} {1e6 * found.now_s:8.2f} {ratio:10.1f} "
            f"{found.why}"
        )
    places = [(random.randint(0, 4), random.randint(0, 4), random.random() < 0.5) for _ in pictures]

    def augment(picture, place):
        right, down, mirrored = place
        image = ImageOps.expand(Image.fromarray(picture), 2).crop((right, down, right + 28, down + 28))
        image = ImageOps.mirror(image) if mirrored else image
        return (torch.from_numpy(np.array(image, np.float32) / 255).unsqueeze(0) - MEAN) / DEVIATION

    scaled = torch.from_numpy(scale(pictures)).unsqueeze(1)
    down, right = torch.tensor([p[1] for p in places]), torch.tensor([p[0] for p in places])
    mirrored = torch.tensor([p[2] for p in places])
    crop, flip = RandomCrop(2, -MEAN / DEVIATION), RandomFlip()
    each_s, one = least(lambda: [augment(p, at) for p, at in zip(pictures, places, strict=True)])

    def whole():
        return [
            flip.where(crop.at(scaled[k : k + 64], down[k : k + 64], right[k : k + 64]), mirrored[k : k + 64])
            for k in range(0, SAMPLES, 64)
        ]

    now_s, other = least(whole)
    equal = torch.allclose(torch.stack(one), torch.cat(other), atol=1e-5)
    print(
        f"{'crop, flip, normalise (Pillow)':34} {'RandomCrop':12} {1e6 * each_s / SAMPLES:10.2f} "
        f"{1e6 * now_s / SAMPLES:8.2f} {each_s / now_s:10.1f} {equal}"
    )
    ratios.append(each_s / now_s if equal else 0.0)
    print(
        f"= per-item pipelines whose preparation is at least 5 times cheaper | 4, equal output | "
        f"{sum(r >= 5 for r in ratios)} of {len(ratios)}"
    )


if __name__ == "__main__":
    main()
