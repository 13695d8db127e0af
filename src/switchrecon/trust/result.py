"""What a reconstruction of arrays says of itself: the image, what was measured, and how sure it is."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from switchrecon.errors import DataError
from switchrecon.physics.masks import measured_acceleration
from switchrecon.physics.measured import Residual, noise_levels
from switchrecon.physics.operators import Encoding
from switchrecon.reconstruction.reconstructor import Reconstruction, Reconstructor
from switchrecon.trust.calibration import read_calibration
from switchrecon.trust.doubt import doubt, softened
from switchrecon.trust.held_out import FOLDS, HeldOut, held_out
from switchrecon.trust.sampling import kind_of

NAME = "arrays"  # what the passes are drawn by, where no file has a name


@dataclass(frozen=True)
class Result:
    """An image and what is known of it without a truth. Arrays are NumPy's where k-space was, else torch's.

    Attributes
    ----------
    image
        As without ``doubt``: complex64 or float32 (..., H, W).
    invented
        The part that was not measured, complex64 (..., H, W); ``image − invented`` is the measured part.
    doubt
        Float32 (..., H, W), in the image's units. With a ``claim`` the half width of the band that it is about; else
        the spread of the magnitude over the passes, which promises nothing.
    residual
        ``relative`` and ``chi_square`` of each slice; see :class:`switchrecon.physics.measured.Residual`.
    held_out
        ``errors`` of each slice, ``error`` of all, and ``reason`` where there is none; see
        :class:`switchrecon.trust.held_out.HeldOut`.
    claim
        What the doubt promises; empty without a calibration that fits.
    unclaimed
        Why nothing is claimed, in a sentence; empty with a claim.
    """

    image: Any
    invented: Any
    doubt: Any
    residual: Residual
    held_out: HeldOut
    claim: str = ""
    unclaimed: str = ""


def result_of(
    reconstructor: Reconstructor, found: Reconstruction, kspace: Tensor, encoding: Encoding, passes: int
) -> Result:
    """Reconstruct again, from fewer samples, and say how sure an image is.

    Parameters
    ----------
    reconstructor
        The run.
    found
        What it made of k-space.
    kspace, encoding
        What was measured, complex (N, n_coils, H, W), and A.
    passes
        Reconstructions that the doubt takes.

    Raises
    ------
    DataError
        For fewer than one pass.
    RunError
        For a calibration that is damaged or of another run.
    """
    if passes < 1:
        raise DataError(f"doubt={passes}: expected a number of passes, at least 1")
    calibration = None
    if reconstructor.folder is not None:
        calibration = read_calibration(reconstructor.folder, reconstructor)
    images = found.phased.reshape(-1, *found.phased.shape[-2:])
    sigma, numbers = noise_levels(kspace, encoding), list(range(len(images)))
    fraction, estimate = reconstructor.card.center_fraction, reconstructor.phased
    folds = FOLDS if calibration is None else calibration.folds
    error = held_out(estimate, kspace, encoding, sigma, fraction, NAME, numbers, folds)
    raw = softened(doubt(estimate, kspace, encoding, images, fraction, NAME, numbers, passes), images, sigma)
    claim, unclaimed, factor = "", "the run was not calibrated", 1.0
    if calibration is not None:
        mask = encoding.mask.cpu().numpy()
        known = mask[mask.any((1, 2))]
        try:
            if passes != calibration.passes:
                raise DataError(
                    f"the calibration was made with {calibration.passes} passes, not {passes}; ask for doubt="
                    f"{calibration.passes}"
                )
            calibration.check_mask(kind_of(known[0]), measured_acceleration(known))
            claim, unclaimed, factor = calibration.claim, "", calibration.factor
        except DataError as problem:
            unclaimed = str(problem)
    width = (factor * raw).reshape(found.image.shape)
    return Result(found.image, found.invented, width, found.residual, error, claim, unclaimed)


def as_arrays(result: Result) -> Result:
    """Return the same with NumPy's arrays."""
    residual: dict[str, Any] = {name: value.numpy() for name, value in vars(result.residual).items()}
    arrays = {name: getattr(result, name).numpy() for name in ("image", "invented", "doubt")}
    return replace(result, residual=replace(result.residual, **residual), **arrays)
