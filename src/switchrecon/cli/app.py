"""The command line. Each command imports what it needs when it runs, so that ``--help`` is quick."""

import sys
from typing import Annotated

import typer

from switchrecon.cli.crossval import crossval
from switchrecon.cli.evaluate import evaluate, report, weights
from switchrecon.cli.files import convert, inspect
from switchrecon.cli.look import compare_domains, masks, phantom
from switchrecon.cli.options import SPILLED
from switchrecon.cli.reconstruct import export, reconstruct
from switchrecon.cli.train import demo, train
from switchrecon.errors import SwitchreconError

app = typer.Typer(
    name="switchrecon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn to reconstruct accelerated MRI from a few dozen scans that do not match: some fully sampled, some "
    "undersampled. Research software, not a medical device.\n\nStart with 'switchrecon demo'. Exit codes: 0 done, "
    "2 bad input or settings, 3 some scans of several failed.",
    epilog="Add --debug to any command to see the traceback of an error.",
)

INTERRUPTED = 130  # the exit code that Ctrl-C ends with


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        import switchrecon

        typer.echo(switchrecon.__version__)
        raise typer.Exit


app.command()(demo)
app.command(context_settings=SPILLED)(train)
app.command()(reconstruct)
app.command()(evaluate)
app.command()(crossval)
app.command()(inspect)
app.command()(convert)
app.command()(export)
app.command()(report)
app.command("compare-domains", context_settings=SPILLED)(compare_domains)
app.command()(masks)
app.command()(phantom)
app.command()(weights)


def main() -> None:
    """Run the command line; an error is one sentence on standard error and exit code 2."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments)
    except SwitchreconError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        typer.echo(f"error: {error.filename2 or error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo(
                "interrupted; a training continues with --resume, a cross-validation when it is run again", err=True
            )
        raise
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: unexpected {type(error).__name__}: {error} (add --debug for the traceback)", err=True)
        sys.exit(1)
