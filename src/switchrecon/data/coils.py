"""Several coils: from a scanner's file to whitened, compressed k-space with coil sensitivity maps."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.errors import DataError
from switchrecon.physics.coil_maps import espirit, walsh
from switchrecon.physics.coils import (
    CALIBRATION,
    calibration_region,
    compress_coils,
    geometric_compression,
    mix_coils,
    noise_covariance,
    whiten,
)
from switchrecon.physics.intensity import low_resolution
from switchrecon.scans.scan import Scan, own_mask

SMALLEST_REGION = 4  # least side of the centre; ESPIRiT's kernel must fit


def with_maps(scan: Scan, config: Config) -> Scan:
    """Return a scan of several coils with whitened noise, compressed coils and coil sensitivity maps.

    Noise is whitened if the file has a noise scan; coils are reduced to ``config.coils`` virtual ones. Maps come from
    the fully measured centre of k-space alone, with calibration lines if there are any, so that they do not depend on
    whether the rest is sampled.

    Parameters
    ----------
    scan
        The scan, already at its final matrix, because maps belong to a matrix. With one coil it is returned unchanged.
    config
        Settings of masks for fully sampled scans, ``coils`` and ``coil_maps``.

    Raises
    ------
    DataError
        If the centre is too small for maps, or the masks do not allow geometric compression.
    """
    if scan.coils == 1 or scan.maps is not None:
        return scan
    kspace = torch.from_numpy(scan.kspace)
    if scan.noise is not None:
        try:
            # Whitened k-space counts in standard deviations of the noise; one factor brings the file's units back, so
            # that the scale of the covariance does not matter.
            covariance = noise_covariance(torch.from_numpy(scan.noise))
            unit = covariance.diagonal().real.mean().sqrt().item()
            kspace = whiten(kspace, covariance) * unit
        except DataError as error:
            raise DataError(f"{scan.path}: not whitened: {error}") from error
    masks = [own_mask(scan, index, config).numpy() for index in range(len(kspace))]
    calibration, region = kspace, maps_region(masks)
    if scan.calibration is not None:
        calibration = torch.from_numpy(scan.calibration)
        calibration = calibration if scan.noise is None else whiten(calibration, covariance) * unit
        region = maps_region([(one != 0).any(0).numpy() for one in calibration])
    if min(region) < SMALLEST_REGION:
        raise DataError(
            f"{scan.path}: no coil sensitivity maps: the fully measured centre has {region[0]}x{region[1]} samples; "
            f"expected at least {SMALLEST_REGION}x{SMALLEST_REGION}: measure a larger centre or calibration lines, or "
            "set mask.center_fraction higher where masks are drawn"
        )
    if config.coils is not None and config.coils < scan.coils:
        if config.coil_compression == "svd":
            calibration, matrix = compress_coils(calibration, config.coils, region)
            kspace = mix_coils(matrix, kspace)
        elif scan.calibration is not None:
            raise DataError(f"{scan.path}: geometric coil compression takes no lines of calibration; choose svd")
        elif not all((mask == mask[:1]).all() for mask in masks):
            raise DataError(f"{scan.path}: geometric coil compression needs whole columns of k-space; choose svd")
        else:
            kspace, _ = geometric_compression(kspace, config.coils, region[1])
            calibration = kspace
    try:
        maps = torch.stack([_maps(one, region, config) for one in calibration])
    except DataError as error:
        help_ = "; set coil_maps=walsh, which needs less" if config.coil_maps == "espirit" else ""
        raise DataError(f"{scan.path}: no coil sensitivity maps: {error}{help_}") from error
    return replace(scan, kspace=kspace.numpy(), maps=maps.numpy(), noise=None, calibration=None)


def maps_region(masks: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return rows and columns of the centre for the maps: fully measured in all masks (H, W), and not too large."""
    rows, columns = zip(*(calibration_region(mask, CALIBRATION) for mask in masks), strict=True)
    return min(rows), min(columns)


def _maps(kspace: torch.Tensor, region: tuple[int, int], config: Config) -> torch.Tensor:
    """Estimate the coil sensitivity maps (n_coils, H, W) of one slice."""
    if config.coil_maps == "espirit":
        return espirit(kspace, region)
    sides = [side / n for side, n in zip(region, kspace.shape[-2:], strict=True)]
    return walsh(low_resolution(kspace, min(sides)))


def one_coil(scan: Scan) -> np.ndarray:
    """Return k-space (slices, H, W) of one coil: the only one, or the virtual coil with the most energy."""
    if scan.coils == 1:
        return scan.kspace[:, 0]
    return compress_coils(torch.from_numpy(scan.kspace), 1)[0][:, 0].numpy()
