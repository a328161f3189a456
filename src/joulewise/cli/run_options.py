"""The options of `joulewise run`, declared once: the fast parser and the click command are both made of this table.

`joulewise run` must start the program before it loads anything slow, and click alone takes longer than a program may
notice. So `parse` reads the arguments with the standard library; help, completion and the manual come from click.

This module is loaded before the program starts: it imports nothing that is slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from joulewise.vocabulary.errors import UnknownName, UsageError


class Option(NamedTuple):
    """One option: its name, what stands for its value in the help ("" for a switch), and what it does."""

    name: str
    metavar: str
    help: str
    many: bool = False
    choices: tuple[str, ...] = ()
    number: bool = False
    kept_as: str = ""  # where the name is a word of Python's own

    @property
    def key(self) -> str:
        """The option's name as a key: `--assume-high` is `assume_high`."""
        return self.kept_as or self.name.lstrip("-").replace("-", "_")


OPTIONS = (
    Option("--name", "NAME", "Name of the recording; without it, the program's or the script's."),
    Option("--budget", "LIMITS", "Stop the program at these limits, for instance 2MJ,200g,1EUR,3h,20trials,plateau=0.1%."),
    Option("--pot", "NAME", "Share the budget with every run that names the same pot."),
    Option("--assume-high", "", "Count grams and money at their high end, where zone or tariff is unknown."),
    Option("--zone", "ZONE", "Where the electricity comes from: DE, US-CA, auto."),
    Option("--interval", "SECONDS", "Seconds between two readings (1).", number=True),
    Option("--param", "KEY=VALUE", "A parameter of the work, kept in the recording; may be repeated.", many=True),
    Option("--tag", "TAG", "A tag of the recording; may be repeated.", many=True),
    Option("--report", "FILE.html", "Write the report of this run into one HTML file."),
    Option("--json", "FILE", "Write what this run cost as JSON into a file."),
    Option(
        "--live",
        "HOW",
        "Show the run while it lasts: auto, line (a status line at the bottom of the terminal), plain (a line now and then), off.",
        choices=("auto", "line", "plain", "off"),
    ),
    Option("--quiet", "", "Say nothing: no live view, no warnings, no card."),
    Option("--grace", "SECONDS", "Seconds between asking the program to end and killing it, at a hard limit (10).", number=True),
    Option(
        "--with", "REMEDIES",
        "Apply remedies to a Python program without an edit: threads=1,workers=0,batch=x4,cache,precision=bf16,validate,early-stop.",
        kept_as="remedies",
    ),
    Option("--no-phases", "", "Do not look inside Python programs: no phases, no learning curve, nothing to diagnose."),
    Option("--no-record", "", "Keep nothing on disk; the card is shown all the same."),
)  # fmt: skip


class RunOptions(NamedTuple):
    """What the user asked of `joulewise run`; "" and None mean: not given."""

    command: tuple[str, ...]
    name: str = ""
    budget: str = ""
    pot: str = ""
    assume_high: bool = False
    zone: str = ""
    interval: float | None = None
    param: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    report: str = ""
    json: str = ""
    live: str = ""
    quiet: bool = False
    grace: float = 10.0
    remedies: str = ""
    no_phases: bool = False
    no_record: bool = False


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """Return the options and the command that follows them (after `--`, or at the first word that is no option).

    None asks for the help. Raises UsageError with one line for what cannot be read.
    """
    known = {option.name: option for option in OPTIONS}
    values: dict[str, object] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word, equals, value = rest.pop(0).partition("=")
        if word == "--":
            break
        if word in ("--help", "-h"):
            return None
        option = known.get(word)
        if option is None:
            raise UnknownName("option", word, known, "(of joulewise run; write -- before the program)")
        if option.metavar and not equals:
            if not rest:
                raise UsageError(f"{word} needs a value: {word} {option.metavar}")
            value = rest.pop(0)
        elif equals and not option.metavar:
            raise UsageError(f"{word} takes no value, but was given {value!r}")
        if option.many:
            values[option.key] = (*_texts(values.get(option.key)), value)
        else:
            values[option.key] = value if option.metavar else True
    return checked(values, tuple(rest))


def checked(values: dict[str, object], command: tuple[str, ...]) -> RunOptions:
    """Return the options if they can be what the user means; raises UsageError with one line if not."""
    if not command:
        raise UsageError("there is no program to run; write for instance: joulewise run -- python train.py")
    for option in OPTIONS:
        value = values.get(option.key)
        if value is None:
            continue
        if option.number:
            values[option.key] = _number(option, value)
        elif option.choices and value not in option.choices:
            raise UsageError(
                f"{option.name} is {value!r}, but must be {', '.join(option.choices[:-1])} or {option.choices[-1]}"
            )
        elif option.metavar and not option.many and not value:
            raise UsageError(f"{option.name} is empty; write {option.name} {option.metavar}")
    for text in _texts(values.get("param")):
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(
                f"--param is {text!r}, but must be KEY=VALUE, for instance --param dataset_size=60000"
            )
    if values.get("remedies") and (values.get("no_phases") or values.get("no_record")):
        raise UsageError(
            "--with works inside the program and says in its recording what it changed; leave out --no-phases and --no-record"
        )
    return RunOptions(command, **values)  # type: ignore[arg-type]  # the table and the tuple have the same fields


def _texts(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _number(option: Option, value: object) -> float:
    least = 0.01 if option.key == "interval" else 0.0
    try:
        number = float(str(value))
    except ValueError:
        raise UsageError(f"{option.name} is {value!r}, but must be a number of seconds") from None
    if not least <= number < 1e9:
        raise UsageError(f"{option.name} is {value!r}, but must be at least {least:g} seconds")
    return number
