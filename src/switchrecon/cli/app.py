"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

import io
import logging
import sys
from typing import Annotated

import typer

from switchrecon.cli.crossval import crossval
from switchrecon.cli.evaluate import evaluate, report, weights
from switchrecon.cli.files import convert, inspect
from switchrecon.cli.look import compare_domains, masks, phantom
from switchrecon.cli.methods import methods
from switchrecon.cli.next_steps import command
from switchrecon.cli.options import SPILLED
from switchrecon.cli.reconstruct import export, reconstruct
from switchrecon.cli.serve import serve
from switchrecon.cli.settings import settings
from switchrecon.cli.train import demo, train
from switchrecon.cli.trust import calibrate, lesions
from switchrecon.cli.view import view
from switchrecon.cli.watch import watch
from switchrecon.core.messages import messages_to
from switchrecon.core.processes import one_of_several, speaks_for_all
from switchrecon.errors import ConfigError, EndedElsewhere, SwitchreconError

app = typer.Typer(
    name="switchrecon",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn to reconstruct accelerated MRI from a few dozen scans that do not match: some fully sampled, some "
    "undersampled. Research software, not a medical device.\n\nStart with 'switchrecon demo'. Exit codes: 0 done, "
    "2 bad input or settings, 3 some scans of several failed.",
    epilog="Add --quiet, --verbose or --debug to any command.",
)

INTERRUPTED = 130  # the exit code that Ctrl-C ends with


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say warnings, errors and results alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say details, too.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        import switchrecon

        typer.echo(switchrecon.__version__)
        raise typer.Exit
    if one_of_several() and context.invoked_subcommand != "train":
        raise ConfigError(
            f"torchrun starts several processes for train alone, not for {context.invoked_subcommand}; start "
            "switchrecon without it"
        )


app.command()(demo)
app.command(context_settings=SPILLED)(train)
app.command()(reconstruct)
app.command()(evaluate)
app.command()(crossval)
app.command()(calibrate)
app.command()(lesions)
app.command()(inspect)
app.command()(convert)
app.command()(view)
app.command()(serve)
app.command()(watch)
app.command()(export)
app.command()(report)
app.command("compare-domains", context_settings=SPILLED)(compare_domains)
app.command()(methods)
app.command()(settings)
app.command()(masks)
app.command()(phantom)
app.command()(weights)


ANYWHERE = ("--quiet", "--verbose", "--debug")
"""Options of every command: they may stand before its name or after it."""


def _say(text: str, progress: bool) -> None:
    print(text, file=sys.stderr if progress else sys.stdout, flush=True)


def main() -> None:
    """Run the command line; an error is one sentence on standard error and exit code 2."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    flags = [word for word in given[:end] if word in ANYWHERE]
    arguments = [*flags, *(word for word in given[:end] if word not in ANYWHERE), *given[end:]]
    level = logging.WARNING if "--quiet" in flags else logging.DEBUG if "--verbose" in flags else logging.INFO
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    with messages_to(_say, level):
        _run(arguments, "--debug" in flags)


def _interrupted(arguments: list[str]) -> str:
    """What to say after Ctrl-C: the command that goes on, where there is something to go on with."""
    if "train" in arguments:
        return f"interrupted; next: {command(*arguments, *([] if '--resume' in arguments else ['--resume']))}"
    return f"interrupted; next: {command(*arguments)}" if {"crossval", "demo"} & {*arguments} else "interrupted"


def _run(arguments: list[str], debug: bool) -> None:
    try:
        app(args=arguments, prog_name="switchrecon")
    except EndedElsewhere:
        sys.exit(2)
    except SwitchreconError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        name = error.filename2 or error.filename or "standard output"
        typer.echo(f"error: {name}: {error.strerror or error}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED and speaks_for_all():
            typer.echo(_interrupted(arguments), err=True)
        raise
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: unexpected {type(error).__name__}: {error} (add --debug for the traceback)", err=True)
        sys.exit(1)
