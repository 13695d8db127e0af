"""The calibration of a run: what its doubt is worth, from fully sampled scans of subjects that it has not seen."""

from pathlib import Path
from typing import Literal

from switchrecon.core.records import Record
from switchrecon.core.sentences import first_problem
from switchrecon.errors import DataError, RunError
from switchrecon.reconstruction.reconstructor import Reconstructor
from switchrecon.trust.conformal import sentence
from switchrecon.trust.doubt import KIND

FILE = "calibration.json"
TOLERANCE = 1.2  # how many times the acceleration may be above or under those of the calibration


class Calibration(Record):
    """What ``calibration.json`` holds; it names no subject.

    Attributes
    ----------
    subjects, percent, factor
        n, the probability in per cent that they allow, and the factor that makes raw doubt the half width of a band.
    scores
        The smallest factor that would do for each subject, in rising order.
    features
        The features of each subject, in an order that tells nothing; see :data:`switchrecon.trust.look.NAMES`.
    doubt
        How raw doubt is made, :data:`~switchrecon.trust.doubt.KIND`.
    passes, folds
        Reconstructions that the doubt and the error on held-out samples take.
    estimate, data_consistency, weights_sha256
        Of the run.
    mask, accelerations
        Columns, rows or points; the smallest and the largest acceleration.
    slices
        How many there were.
    synthetic
        How many of the scans had k-space computed from magnitude images.
    kind
        ``held out``: one network, on subjects that it has not seen. ``cross-fitted``: the networks of a
        cross-validation, each on the subjects of its fold.
    fold_subjects
        How many of the subjects this network has not seen, where the calibration is cross-fitted.
    """

    subjects: int
    percent: int
    factor: float
    scores: tuple[float, ...]
    features: tuple[tuple[float | None, ...], ...]
    doubt: str
    passes: int
    folds: int
    estimate: str
    data_consistency: str
    weights_sha256: str
    mask: str
    accelerations: tuple[float, float]
    slices: int
    synthetic: int
    kind: Literal["held out", "cross-fitted"] = "held out"
    fold_subjects: int | None = None

    @property
    def claim(self) -> str:
        """What the doubt promises, in words."""
        return sentence(self.subjects, self.fold_subjects)

    def check_mask(self, mask: str, acceleration: float) -> None:
        """Refuse a scan of another mask law.

        Raises
        ------
        DataError
            Saying what the scan has, and what the calibration had.
        """
        least, most = self.accelerations
        if mask != self.mask or not least / TOLERANCE <= acceleration <= most * TOLERANCE:
            raise DataError(
                f"the scan skips {mask} at acceleration {acceleration:.2f}, but the calibration was made with "
                f"{self.mask} at {least:.2f} to {most:.2f}; calibrate a run with masks like the scan's"
            )


def read_calibration(run: Path, reconstructor: Reconstructor) -> Calibration | None:
    """Read a run's calibration; None where it has none.

    Raises
    ------
    RunError
        For a file that is damaged, or was made with other weights, another estimate or another data consistency.
    """
    file = run / FILE
    if not file.exists():
        return None
    try:
        found = Calibration.read(file)
    except ValueError as error:
        raise RunError(f"{file}: no calibration ({first_problem(error)}); run calibrate again") from error
    if found.weights_sha256 != reconstructor.card.weights_sha256:
        raise RunError(f"{file}: was made with other weights than the run has now; run calibrate again")
    if found.doubt != KIND:
        raise RunError(f"{file}: was made with doubt from {found.doubt}, now it is from {KIND}; run calibrate again")
    for name in ("estimate", "data_consistency"):
        ours, theirs = getattr(reconstructor.config, name), getattr(found, name)
        if ours != theirs:
            raise RunError(
                f"{file}: was made with {name} '{theirs}', asked for '{ours}'; run calibrate with it, or add --no-maps"
            )
    return found
