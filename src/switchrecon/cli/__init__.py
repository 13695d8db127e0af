"""The command line."""

from switchrecon.cli.app import main

__all__ = ["main"]
