"""From what compressing has kept to a model folder that is served: files, model.toml, the card for people and for programs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from joulewise.compressing import card
from joulewise.compressing.compress import Compressed, Kept
from joulewise.serving.folder import Life, ModelFolder, Quality, Variant, checksum, write_folder
from joulewise.vocabulary.errors import UsageError

CARD_JSON = "card.json"


def check_free(place: Path) -> None:
    """Refuse a place where there is something already. Raises UsageError."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"{place} is there already: name another folder with --out, or delete it")


def folder_of(told: Compressed, place: Path, life: Life | None = None) -> ModelFolder:
    """Put the kept variants into a folder, the cheapest first, with manifest and cards; returns it. Raises UsageError.

    `life` is what search and training took, where that is known.
    """
    check_free(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        variants = tuple(_variant(one, place, told.device) for one in told.kept)
        folder = ModelFolder(
            place,
            told.name,
            variants,
            told.metric,
            told.lower_is_better,
            life=replace(life or Life(), compressing_j=told.spent_j),
            left_out=told.left_out,
        )
        fields = json.dumps({"schema_version": 1, **card.fields(told)}, indent=2, ensure_ascii=False)
        (place / CARD_JSON).write_text(fields + "\n", "utf-8")
        write_folder(folder, card.markdown(told))
    except OSError as error:
        raise UsageError(f"cannot write the model folder {place}: {error.strerror}") from None
    return folder


def _variant(one: Kept, place: Path, device: str) -> Variant:
    path = place / f"{one.name}.onnx"
    shutil.copyfile(one.path, path)
    return Variant(
        name=one.name,
        path=path,
        sha256=checksum(path),
        precision=one.precision,
        device=device,
        quality=Quality(one.quality.value, one.quality.low, one.quality.high),
        joules=one.joules,
        seconds=one.seconds,
        cold_start_s=one.cold_start_s,
        cold_start_j=one.cold_start_j,
    )
