"""A model folder: variants of one model, what each is worth and costs, what feeds them, and a card to read.

    fashion/
      model.toml      what is below; written by `joulewise compress`, edited by hand where you like
      fp32.onnx       the variants' files
      int8.onnx
      README.md       the card, for people

    schema = 1
    name = "fashion"
    metric = "accuracy"          # of the user's own task; the larger the better unless lower_is_better = true

    [views]                      # the input `x` is filled from these feature views; the request carries the entity's key
    x = ["user_spend", "user_mean"]

    [life]                       # joules spent before the first request
    search_j = 0.0
    training_j = 81000.0
    compressing_j = 5200.0

    [[variant]]
    name = "int8"
    file = "int8.onnx"
    sha256 = "9f86d0..."
    precision = "int8"
    quality = [0.913, 0.909, 0.917]  # value, and its 90 % interval
    cold_start_s = 0.3
    cold_start_j = 4.1
    joules = { 1 = 0.0021, 8 = 0.0012 }    # of one request, by the size of its batch
    seconds = { 1 = 0.004, 8 = 0.019 }     # of a whole batch

    [left_out]
    int4 = "accuracy 0.871 is 4.2 points below fp32, more than 0.5"

`read_folder` takes a bare `.onnx` file for a folder of one variant, of which nothing is known yet. Whatever is not told is
None or empty, never 0. A file is checked against its checksum when it is loaded.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MANIFEST, CARD, SCHEMA = "model.toml", "README.md", 1


@dataclass(frozen=True, slots=True)
class Quality:
    """The user's own metric on held-out data: its value and 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the model: its file, and what was measured of it on the host that made the folder."""

    name: str
    path: Path
    sha256: str = ""  # of the file; "" where the folder does not tell
    precision: str = ""  # fp32, int8, pruned-50, ...
    device: str = "cpu"
    quality: Quality | None = None
    joules: Mapping[int, float] = field(default_factory=dict)  # of one request, by the size of its batch
    seconds: Mapping[int, float] = field(default_factory=dict)  # of a whole batch, by its size
    cold_start_s: float | None = None
    cold_start_j: float | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """Joules spent on a model before its first request; None is not known."""

    search_j: float | None = None
    training_j: float | None = None
    compressing_j: float | None = None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model: its variants in the order of the file, the feature views of its inputs, and its life so far."""

    path: Path
    name: str
    variants: tuple[Variant, ...]
    metric: str = ""
    lower_is_better: bool = False
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by input
    life: Life = field(default_factory=Life)
    left_out: Mapping[str, str] = field(default_factory=dict)  # variants that failed a gate, and why

    @property
    def card(self) -> str:
        """Return the card's text, "" if there is none."""
        card = self.path / CARD
        return card.read_text("utf-8", "replace") if card.is_file() else ""

    def variant(self, name: str) -> Variant:
        """Return the variant of that name. Raises UnknownName."""
        for one in self.variants:
            if one.name == name:
                return one
        raise UnknownName("variant", name, [one.name for one in self.variants])


def read_folder(path: str | Path) -> ModelFolder:
    """Return the model in a folder, or of a single .onnx file. Raises UsageError in one line."""
    place = Path(path)
    if not place.is_dir():
        if place.suffix != ".onnx":
            raise UsageError(
                f"{place} is neither a model folder nor an .onnx file: serve takes ONNX models only, nothing is unpickled"
            )
        return ModelFolder(place.parent, place.stem, (Variant(place.stem, place),))
    manifest = place / MANIFEST
    try:
        told = tomllib.loads(manifest.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {manifest}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {manifest}: {error}") from None
    return _folder(place, manifest, told)


def write_folder(folder: ModelFolder, card: str = "") -> None:
    """Write model.toml (whole or not at all) and the card beside the variants' files, with their checksums."""
    manifest = folder.path / MANIFEST
    temporary = manifest.with_suffix(".tmp")
    temporary.write_text(_written(folder), "utf-8")
    os.replace(temporary, manifest)
    if card:
        (folder.path / CARD).write_text(card, "utf-8")


def checksum(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: Any) -> str:
    digest = sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _folder(place: Path, manifest: Path, told: Mapping[str, Any]) -> ModelFolder:
    schema = told.get("schema")
    if schema != SCHEMA:
        raise UsageError(f"{manifest}: schema is {schema!r}, but this joulewise reads {SCHEMA}")
    _only(
        manifest,
        "",
        told,
        ("schema", "name", "metric", "lower_is_better", "views", "life", "left_out", "variant"),
    )
    tables = told.get("variant")
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{manifest}: there is no [[variant]]; each is a file and what was measured of it")
    variants = tuple(_variant(place, manifest, table) for table in tables)
    if len({one.name for one in variants}) != len(variants):
        raise UsageError(f"{manifest}: two variants have the same name")
    life = _table(manifest, told, "life")
    _only(manifest, "life", life, tuple(f.name for f in fields(Life)))
    views = {
        name: tuple(_texts(manifest, f"views.{name}", value))
        for name, value in _table(manifest, told, "views").items()
    }
    return ModelFolder(
        path=place,
        name=_text(manifest, told, "name") or place.resolve().name,
        variants=variants,
        metric=_text(manifest, told, "metric"),
        lower_is_better=told.get("lower_is_better") is True,
        views=views,
        life=Life(**{name: _number(manifest, f"life.{name}", value) for name, value in life.items()}),
        left_out={name: str(why) for name, why in _table(manifest, told, "left_out").items()},
    )


def _variant(place: Path, manifest: Path, table: Any) -> Variant:
    if not isinstance(table, dict):
        raise UsageError(f"{manifest}: each variant is a table, [[variant]]")
    known = ("name", "file", "sha256", "precision", "device", "quality", "joules", "seconds", "cold_start_s", "cold_start_j")  # fmt: skip
    _only(manifest, "variant", table, known)
    file, name = _text(manifest, table, "file"), _text(manifest, table, "name")
    if not _NAME.fullmatch(name) or not file.endswith(".onnx") or Path(file).name != file:
        raise UsageError(
            f"{manifest}: variant {name!r} with file {file!r} needs a name that can stand in a URL (letters, digits, '.', '_', '-'), "
            "and an .onnx file in the folder itself"
        )
    quality = table.get("quality")
    if quality is not None:
        told = quality if isinstance(quality, list) and len(quality) == 3 else [quality] * 3
        value, low, high = (_number(manifest, f"{name}.quality", one) for one in told)
        if not low <= value <= high:
            raise UsageError(f"{manifest}: {name}.quality is {told}, but must be value, low, high")
        quality = Quality(value, low, high)
    cold = {
        key: _number(manifest, f"{name}.{key}", table[key])
        for key in ("cold_start_s", "cold_start_j")
        if key in table
    }
    return Variant(
        name=name,
        path=place / file,
        sha256=_text(manifest, table, "sha256").lower(),
        precision=_text(manifest, table, "precision"),
        device=_text(manifest, table, "device") or "cpu",
        quality=quality,
        joules=_by_size(manifest, name, table, "joules"),
        seconds=_by_size(manifest, name, table, "seconds"),
        **cold,
    )


def _by_size(manifest: Path, name: str, table: Mapping[str, Any], key: str) -> dict[int, float]:
    given = _table(manifest, table, key)
    if not all(size.isdigit() and int(size) > 0 for size in given):
        raise UsageError(
            f"{manifest}: {name}.{key} goes by the size of a batch, for instance {{ 1 = 0.002 }}"
        )
    return {
        int(size): _number(manifest, f"{name}.{key}.{size}", value) for size, value in sorted(given.items())
    }


def _only(manifest: Path, where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise UnknownName(f"entry in {manifest}:", f"{where}.{name}" if where else name, known)


def _table(manifest: Path, given: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name, {})
    if not isinstance(value, dict):
        raise UsageError(f"{manifest}: {name} is {value!r}, but must be a table")
    return value


def _text(manifest: Path, given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"{manifest}: {name} is {value!r}, but must be text")
    return value


def _texts(manifest: Path, name: str, value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
        raise UsageError(
            f"{manifest}: {name} is {value!r}, but must be the name of a view, or a list of names"
        )
    return values


def _number(manifest: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= abs(value) < float("inf"):
        raise UsageError(f"{manifest}: {name} is {value!r}, but must be a number")
    return float(value)


def _written(folder: ModelFolder) -> str:
    lines = [f"schema = {SCHEMA}", f"name = {_toml(folder.name)}"]
    if folder.metric:
        lines.append(f"metric = {_toml(folder.metric)}")
    if folder.lower_is_better:
        lines.append("lower_is_better = true")
    lines += _section("views", {name: list(views) for name, views in folder.views.items()})
    lines += _section("life", {f.name: getattr(folder.life, f.name) for f in fields(Life)})
    lines += _section("left_out", folder.left_out)
    for one in folder.variants:
        quality = one.quality and [one.quality.value, one.quality.low, one.quality.high]
        entries: dict[str, Any] = {
            "name": one.name,
            "file": one.path.name,
            "sha256": one.sha256 or checksum(one.path),
            "precision": one.precision or None,
            "device": one.device,
            "quality": quality,
            "cold_start_s": one.cold_start_s,
            "cold_start_j": one.cold_start_j,
            "joules": one.joules or None,
            "seconds": one.seconds or None,
        }
        lines += ["", "[[variant]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in entries.items() if value is not None]
    return "\n".join(lines) + "\n"


def _section(name: str, entries: Mapping[str, Any]) -> list[str]:
    told = {key: value for key, value in entries.items() if value is not None}
    return (
        ["", f"[{name}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in told.items())] if told else []
    )


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
