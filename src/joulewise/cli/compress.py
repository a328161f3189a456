"""`joulewise compress MODEL --data FILE`: smaller forms of a model that answer as well and certainly cost less here."""

from __future__ import annotations

from pathlib import Path

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, json_option, plain, table
from joulewise.vocabulary.errors import UsageError


@click.command("compress")
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    metavar="FILE.npz",
    required=True,
    help="Rows that judge: an array for each input, and what should come out.",
)
@click.option(
    "--target", metavar="NAME", default="y", show_default=True, help="The array of what should come out."
)
@click.option(
    "--metric",
    metavar="METRIC",
    default="accuracy",
    show_default=True,
    help="accuracy, f1, r2, rmse, mae, recall@10, or a function of yours: FILE.py:FUNCTION.",
)
@click.option("--lower-is-better", is_flag=True, help="Of your own function: the smaller the better.")
@click.option(
    "--max-drop",
    metavar="DROP",
    default="0.5%",
    show_default=True,
    help="What the metric may lose, its noise included.",
)
@click.option(
    "--batch-sizes", metavar="N,N", default="1,32", show_default=True, help="Sizes of batches to be expected."
)
@click.option(
    "--variants", metavar="NAME,NAME", default="", help="Which to try; without it, all that there are."
)
@click.option(
    "--candidate", metavar="NAME=FILE.onnx", multiple=True, help="One that you have made: pruned, distilled."
)
@click.option(
    "--tuning", metavar="RUN", default="", help="The recording of making the candidates: its joules count."
)
@click.option(
    "--training", metavar="RUN", default="", help="The recording of the model's training, for its life."
)
@click.option(
    "--out", metavar="FOLDER", default="", help="Where the model folder goes; without it, MODEL-compressed."
)
@click.option("--name", metavar="NAME", default="", help="The model's name; without it, the file's.")
@click.option(
    "--device",
    metavar="DEVICE",
    default="cpu",
    show_default=True,
    help="cpu, cuda, tensorrt, rocm, coreml, openvino.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="ONNX Runtime's, as when serving.",
)
@click.option(
    "--zone", metavar="ZONE", default=None, help="Where the electricity comes from: DE, US-CA, auto."
)
@json_option
def command(
    model: str,
    data: str,
    target: str,
    metric: str,
    lower_is_better: bool,
    max_drop: str,
    batch_sizes: str,
    variants: str,
    candidate: tuple[str, ...],
    tuning: str,
    training: str,
    out: str,
    name: str,
    device: str,
    threads: int,
    zone: str | None,
    as_json: bool,
) -> None:
    """Make smaller forms of MODEL (.onnx), and keep those that answer as well and cost less on this host.

    A form must pass two gates: by your own metric on your rows its drop is certainly at most --max-drop, and a request
    certainly costs less than with fp32 at the batch sizes expected. Each that is left out is told with the reason. The
    result is a model folder: joulewise serve FOLDER.
    """
    told = wiring.compress(
        model,
        data,
        metric=metric,
        max_drop=max_drop,
        out=out,
        name=name,
        batch_sizes=_sizes(batch_sizes),
        variants=[one.strip() for one in variants.split(",") if one.strip()],
        candidates=dict(_candidate(one) for one in candidate),
        tuning_j=_joules("--tuning", tuning),
        training_j=_joules("--training", training),
        target=target,
        lower_is_better=lower_is_better,
        device=device,
        threads=threads,
        zone=zone,
    )
    from joulewise.compressing import card

    place = out or f"{told.name}-compressed"
    if as_json:
        echo_json({"folder": str(Path(place).absolute()), **card.fields(told)})
        return
    echo(
        f"{told.name}: {told.metric} on {told.rows:,} rows, a drop of at most {told.most_drop:.4g}; beside fp32, in turn"
    )
    rows = [card.row(one) for one in told.kept]
    heads = card.head(told)
    echo(table(rows, heads, right=range(1, len(heads))))
    for one, why in told.left_out.items():
        echo(plain(f"left out: {one}: {why}"))
    echo(card.closing(told))
    echo(f"joulewise serve {place}")


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or sizes[-1] > 100_000:
        raise UsageError(f"--batch-sizes is {text!r}, but must be whole numbers from 1, for instance 1,32")
    return sizes


def _candidate(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    if not name or not file:
        raise UsageError(
            f"--candidate is {text!r}, but must be a name and a file, for instance pruned=small.onnx"
        )
    return name, file


def _joules(option: str, run: str) -> float | None:
    """Return the joules at the wall of a recording; None if none is named."""
    if not run:
        return None
    found = wiring.account(wiring.find(run)).footprint.total_j
    if found is None:
        raise UsageError(f"{option}: the joules of {run} are not known")
    return found.value
