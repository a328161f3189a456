"""The options of `joulewise run`: one table, two readers."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.cli.run_command import build
from joulewise.cli.run_options import OPTIONS, RunOptions, parse
from joulewise.vocabulary.errors import UsageError


def test_everything_after_the_dashes_is_the_program():
    """Options stop at `--` or at the first word that is none; the program keeps its own options."""
    assert parse(["--name", "x", "--", "python", "-c", "--name"]) == RunOptions(
        ("python", "-c", "--name"), name="x"
    )
    assert parse(["--name=x", "train", "--quiet"]) == RunOptions(("train", "--quiet"), name="x")


def test_values():
    """Numbers are numbers, switches are true, what may be repeated is collected."""
    options = parse(
        ["--interval", "0.5", "--quiet", "--param", "a=1", "--param", "b=x=y", "--tag", "night", "--", "true"]
    )

    assert options is not None
    assert (options.interval, options.quiet, options.param, options.tag) == (
        0.5,
        True,
        ("a=1", "b=x=y"),
        ("night",),
    )


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--name", "x", "--help"]])
def test_help(words):
    """Asking for help is told from everything else."""
    assert parse(words) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no program to run"),
        (["--"], "there is no program to run"),
        (["--nam", "x", "--", "true"], "did you mean --name"),
        (["--name"], "--name needs a value"),
        (["--name", "", "--", "true"], "--name is empty"),
        (["--quiet=yes", "true"], "--quiet takes no value"),
        (["--interval", "soon", "true"], "--interval is 'soon', but must be a number of seconds"),
        (["--interval", "0", "true"], "must be at least 0.01 seconds"),
        (["--interval", "nan", "true"], "must be at least 0.01 seconds"),
        (["--grace", "-1", "true"], "must be at least 0 seconds"),
        (["--live", "loud", "true"], "--live is 'loud', but must be auto, line, plain or off"),
        (["--param", "size", "true"], "--param is 'size', but must be KEY=VALUE"),
        (["--param", "=3", "true"], "but must be KEY=VALUE"),
    ],
)
def test_wrong_use(words, said):
    """What cannot be read is one line that names the value and what was expected."""
    with pytest.raises(UsageError) as caught:
        parse(words)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.sampled_from(["--name", "x", "--quiet", "--interval", "1", "--", "true", "--tag", "-", ""]),
        max_size=8,
    )
)
def test_both_readers_agree(words):
    """The fast reader and the click command read the same words the same way, or both refuse them."""
    context = click.Context(build())
    try:
        fast = parse(words)
    except UsageError:
        fast = None
    try:
        slow = build().make_context("run", list(words), parent=context).params
    except (click.UsageError, click.exceptions.NoArgsIsHelpError):
        slow = None
    if fast is not None:
        assert slow is not None
        assert tuple(slow["command"]) == fast.command
        assert (slow["name"] or "", slow["quiet"]) == (fast.name, fast.quiet)


def test_help_names_every_option():
    """Help and manual are made of the same table."""
    text = build().get_help(click.Context(build(), info_name="run"))

    for option in OPTIONS:
        assert option.name in text
