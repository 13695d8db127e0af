"""Processes of the command line that need not import anything: forks of the test's process."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from switchrecon import cli


class Forked:
    """Like ``subprocess.Popen([python, "-m", "switchrecon", …])``, in a second less each: what is imported stays so."""

    def __init__(
        self,
        command: Sequence[str],
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        assert command[1:3] == ["-m", "switchrecon"]
        self.returncode: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of pytest's are not the child's business
            self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                with Path(os.devnull).open("w") as nothing:
                    os.dup2((stdout or nothing).fileno(), 1)
                    os.dup2((stderr or nothing).fileno(), 2)
                sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
                code = self._run(command[3:], os.environ if env is None else env, start_new_session)
            finally:
                os._exit(code)

    @staticmethod
    def _run(arguments: Sequence[str], environment: Mapping[str, str], new_session: bool) -> int:
        try:
            if new_session:
                os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            warnings.simplefilter("default")
            changed = dict(environment)
            os.environ.clear()
            os.environ.update(changed)
            sys.argv = ["switchrecon", *arguments]
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        """The exit code, when it has ended."""
        return self._ended(0)

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)
