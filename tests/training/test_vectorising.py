"""Transforms of whole batches in place of one item at a time."""

import random

import pytest

from joulewise.training.vectorising import Compose, RandomCrop, RandomFlip, offer, vectorise
from joulewise.vocabulary.errors import UsageError

np = pytest.importorskip("numpy")
DRAW = np.random.default_rng(0)
PICTURES = [DRAW.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(64)]


def scaled(picture):
    return (picture.astype(np.float32) / 255 - 0.286) / 0.353


def counted(row):
    return sum(1 for v in np.asarray(row).flat if v > 100)


def per_picture(picture):
    return (picture - picture.mean()) / picture.std()


class Pictures:
    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, i):  # noqa: ANN204 - a test's
        return scaled(PICTURES[i]), i


class TestVectorise:
    def test_whole_batches(self):
        """A function of arithmetic only serves a whole batch as it is, with an equal output."""
        found = vectorise(scaled, PICTURES)

        assert found.way == "whole batch"
        assert found.transform is not None
        np.testing.assert_allclose(
            found.transform(np.stack(PICTURES)), np.stack([scaled(p) for p in PICTURES])
        )

    def test_rows_by_name(self):
        """Mappings of numbers are taken by column."""
        rows = [{"age": float(i), "income": 1000.0 * i} for i in range(300)]
        found = vectorise(lambda r: {"age": (r["age"] - 40) / 12, "income": np.log1p(r["income"])}, rows)

        assert found.way == "whole batch"

    def test_vmap(self):
        """What is computed within each item is mapped over the batch: the batch's own mean would be another value."""
        torch = pytest.importorskip("torch")
        found = vectorise(per_picture, [torch.tensor(p, dtype=torch.float32) for p in PICTURES])

        assert found.way == "vmap"

    def test_once(self):
        """What cannot be had for a whole batch is made once, where it is asked for more than once."""
        assert vectorise(counted, PICTURES, epochs=10).way == "once"
        assert vectorise(counted, PICTURES).way == "per item"

    def test_random(self):
        """What draws at random is left as it is, and the way out named."""
        found = vectorise(lambda p: p + random.random(), PICTURES, epochs=10)

        assert found.way == "per item"
        assert "RandomCrop" in str(found)

    def test_too_few(self):
        """Equality on a handful of items shows nothing."""
        with pytest.raises(UsageError, match="3 items are too few"):
            vectorise(scaled, PICTURES[:3])


class TestOffer:
    def test_diff(self):
        """The change is a diff of the user's file: the call leaves `__getitem__`, its argument stays."""
        diff = offer(scaled, Pictures())

        assert "-        return scaled(PICTURES[i]), i" in diff
        assert "+        return PICTURES[i], i" in diff

    def test_not_called(self):
        """Where the function is not called by its name nothing is offered."""
        with pytest.raises(UsageError, match="calls counted 0 times"):
            offer(counted, Pictures())


class TestRandomTransforms:
    def test_crop(self):
        """Each picture is cut at its own place, as slicing the padded picture would."""
        torch = pytest.importorskip("torch")
        batch = torch.randn(50, 3, 8, 6)
        crop = RandomCrop(2, fill=-1.0)
        down, right = torch.randint(0, 5, (2, 50))
        padded = torch.nn.functional.pad(batch, (2, 2, 2, 2), value=-1.0)
        wanted = torch.stack(
            [padded[i, :, a : a + 8, b : b + 6] for i, (a, b) in enumerate(zip(down, right, strict=True))]
        )

        assert torch.equal(crop.at(batch, down, right), wanted)
        assert crop(batch).shape == batch.shape
        assert not torch.equal(crop(batch), crop(batch))

    def test_flip(self):
        """About half of the pictures are mirrored, each as a whole."""
        torch = pytest.importorskip("torch")
        batch = torch.arange(400 * 4.0).view(400, 1, 1, 4)
        out = Compose(RandomFlip())(batch)
        mirrored = (out != batch).flatten(1).all(1)

        assert torch.equal(out[mirrored], batch[mirrored].flip(-1))
        assert 120 < int(mirrored.sum()) < 280

    @pytest.mark.parametrize(
        ("make", "message"), [(lambda: RandomCrop(0), "padding is 0"), (lambda: RandomFlip(2), "chance is 2")]
    )
    def test_refuses(self, make, message):
        """What cannot be drawn is refused."""
        with pytest.raises(UsageError, match=message):
            make()
