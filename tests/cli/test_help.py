"""Help that helps: every command has examples that its options accept, and a shell completes commands and options."""

import inspect
import os
import re
import shlex
import subprocess
import sys

import click
import pytest
import typer.main

from switchrecon.cli.app import app

COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
EXAMPLE = re.compile(r"Example: switchrecon (\S+) ?(.*)")


def examples(name: str) -> list[tuple[str, list[str]]]:
    text = inspect.getdoc(COMMANDS[name].callback) or ""
    return [(found[1], shlex.split(found[2])) for found in EXAMPLE.finditer(text)]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_examples_that_its_options_accept(name: str) -> None:
    found = examples(name)
    assert found
    for command, arguments in found:
        assert command == name
        with COMMANDS[name].make_context(name, list(arguments)) as context:
            assert not context.args


def test_an_example_with_an_unknown_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --no-such-option"):
        COMMANDS["train"].make_context("train", ["--out", "runs/x", "--no-such-option"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("switchrecon tra", ["train"]),
        ("switchrecon train --meth", ["--method"]),
        ("switchrecon train --method swi", ["switchable"]),
    ],
)
def test_a_shell_completes_commands_options_and_methods(words: str, expected: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "switchrecon"],
        env={
            **os.environ,
            "_SWITCHRECON_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == expected, found.stderr
