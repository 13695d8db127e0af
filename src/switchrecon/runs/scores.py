"""``scores.jsonl`` of a run: how good it was while it learned."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from switchrecon.core.files import write_text
from switchrecon.errors import RunError

FILE = "scores.jsonl"


@dataclass(frozen=True)
class Score:
    """How good a run was after some steps, on draws that it never learns from; the subjects are those of its piles.

    Attributes
    ----------
    step, seconds
        When.
    psnr, zero_filling
        In dB with each slice's maximum, the mean over a few slices: of the run and of zero filling, on pairs simulated
        from fully sampled scans. None without such scans.
    held_out
        In dB: how much smaller than zero filling's the error is at measured samples of undersampled scans that were
        hidden from the network. None without such scans, and for magnitudes, which are not what was measured.
    """

    step: int
    seconds: float
    psnr: float | None = None
    zero_filling: float | None = None
    held_out: float | None = None

    @property
    def quality(self) -> str:
        """The figure for a line of progress; empty where nothing could be measured."""
        if self.psnr is not None:
            return f"PSNR {self.psnr:.1f} dB (zero-filled {self.zero_filling:.1f})"
        return "" if self.held_out is None else f"held-out {self.held_out:+.1f} dB"


class Scores:
    """The scores of a run, in order.

    Parameters
    ----------
    folder
        The run folder.
    step
        Steps done: later scores, left by a run that was stopped, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.file = folder / FILE
        self.known: list[Score] = read_scores(folder)
        self.rewind(step)

    def rewind(self, step: int) -> None:
        """Drop all scores after a step."""
        kept = [score for score in self.known if score.step <= step]
        if len(kept) < len(self.known):
            self.known = kept
            self._write()

    def add(self, score: Score) -> None:
        """Add one."""
        self.known.append(score)
        self._write()

    def _write(self) -> None:
        write_text(self.file, "".join(json.dumps(asdict(score)) + "\n" for score in self.known))


def read_scores(folder: Path) -> list[Score]:
    """Read the scores of a run; empty where there are none.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return []
    try:
        return [_score(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError(
            f"{file}: not readable scores of a run ({error}); delete the file, the run does not need it"
        ) from error


def _score(values: Mapping[str, Any]) -> Score:
    found = {
        name: None if values[name] is None else float(values[name]) for name in ("psnr", "zero_filling", "held_out")
    }
    return Score(int(values["step"]), float(values["seconds"]), **found)
