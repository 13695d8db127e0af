"""Reconstruction: from measured k-space and its mask to images, with a trained run."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from switchrecon.config import Config, DataConsistency, Estimate, Precision
from switchrecon.core.device import PROCESSOR, find_device, set_up
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.nets.builder import build_generator, check_consistency, run
from switchrecon.nets.extractor import Extractor
from switchrecon.nets.layers import with_precision
from switchrecon.physics.consistency import consistent, trust
from switchrecon.physics.intensity import from_network, intensity_scale, low_resolution, to_network
from switchrecon.physics.measured import Residual, invented_part, noise_levels, residual, share
from switchrecon.physics.operators import Coils, Encoding, Sampling, coils_of
from switchrecon.runs.card import Card
from switchrecon.runs.checkpoint import load_model
from switchrecon.runs.pretrained import run_folder
from switchrecon.runs.user_code import check_masks, network_code

logger = logging.getLogger(__name__)

ESTIMATES: tuple[str, ...] = get_args(Estimate)
DATA_CONSISTENCIES: tuple[str, ...] = get_args(DataConsistency)
PRECISIONS: tuple[str, ...] = get_args(Precision)
TOGETHER = 32  # slices at once on a GPU; fewer if its memory does not suffice


def _chosen(config: Config, estimate: str | None, data_consistency: str | None, precision: str | None = None) -> Config:
    changes = {"estimate": estimate, "data_consistency": data_consistency, "precision": precision}
    for (name, value), valid in zip(changes.items(), (ESTIMATES, DATA_CONSISTENCIES, PRECISIONS), strict=True):
        if value is not None and value not in valid:
            raise ConfigError(f"unknown {name} '{value}'; {nearest(value, valid)}")
    return config.model_copy(update={name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class Reconstruction:
    """Images, and which part of them was measured.

    Attributes
    ----------
    image
        Images as :class:`Reconstructor` returns them: complex64 or float32 (..., H, W).
    invented
        The part that the scan has not measured, complex64 (..., H, W), in the image's units and phase, so that
        ``image − invented`` is the measured part; see :func:`switchrecon.physics.measured.invented_part`.
    phased
        The image with its phase, complex64 (..., H, W).
    residual
        How far the image is from the measured samples, one value for each slice.
    """

    image: Tensor
    invented: Tensor
    phased: Tensor
    residual: Residual

    @property
    def share(self) -> float:
        """‖invented‖ / ‖image‖ over the foreground of all slices."""
        return share(self.invented, self.image)


class Reconstructor:
    """A trained reconstruction: ``image = reconstructor(kspace, mask)``.

    :meth:`load` makes one from a run folder.

    Parameters
    ----------
    generator, extractor
        The networks; the extractor is needed for the ensemble estimate alone.
    config
        The run's settings.
    card
        The card in the run's model file.
    resize
        Whether another matrix than the run's is allowed: the networks, which are convolutional, then work at that
        matrix, and every measured sample is used. Refused otherwise, since nothing was measured there.
    device
        Device of the networks.
    folder
        Folder of the run, if it was loaded from one.
    """

    def __init__(
        self,
        generator: nn.Module,
        extractor: Extractor | None,
        config: Config,
        card: Card,
        resize: bool,
        device: torch.device = PROCESSOR,
        folder: Path | None = None,
    ) -> None:
        self.generator = with_precision(generator, config.precision).to(device).eval()
        self.extractor = with_precision(extractor, config.precision).to(device).eval() if extractor else None
        self.device = device
        self.config = config
        self.card = card
        self.resize = resize
        self.folder = folder
        if config.estimate == "ensemble" and extractor is None:
            raise ConfigError(
                f"estimate 'ensemble' needs the extractor H, which method '{config.method}' has not; choose 'generator'"
            )
        check_consistency(generator, config, card.coils)

    @classmethod
    def load(
        cls,
        run: str | Path,
        estimate: str | None = None,
        data_consistency: str | None = None,
        resize: bool = False,
        device: str | None = None,
        precision: str | None = None,
        trust_code: bool = False,
    ) -> Self:
        """Load a run folder.

        Parameters
        ----------
        run
            Folder with ``model.safetensors``, or ``switchrecon:NAME`` for one that comes with the package.
        estimate
            ``generator``: G(x). ``ensemble``: ½ G(x) + ½ (x − H(x)), clipped to the data range. None: the run's.
        data_consistency
            ``none``; ``hard``: measured samples replace those of the image; ``soft``: they are mixed with those of the
            image, with a weight from the noise. None: the run's.
        resize
            Allow scans of another matrix than the training one; see :class:`Reconstructor`.
        device
            Device to compute on; see :func:`switchrecon.core.device.find_device`.
        precision
            Precision of the convolutions: ``float32``, ``bfloat16``, or ``tf32`` on a GPU. None: the run's on a GPU,
            else float32.
        trust_code
            Allow the run to execute a user's code: the copy of the network's code in the run folder, and the file of a
            mask. Only for runs from people you trust; see :mod:`switchrecon.runs.user_code`.

        Raises
        ------
        RunError
            If the folder holds no model, a damaged one, or code that may not be executed.
        ConfigError
            If the estimate, data consistency, device or precision is unknown, or not possible with this method.
        """
        folder = run_folder(run)
        chosen = find_device(device)
        if not folder.is_dir():
            raise RunError(f"{folder}: no such run folder")
        tensors, card = load_model(folder / "model.safetensors")
        if card.trial is not None and card.trial.failed:
            logger.warning("%s: %s", folder, card.trial.sentence)
        if chosen.type == "cpu":
            precision = precision or "float32"
        config = _chosen(card.config, estimate, data_consistency, precision)

        def part(module: Any, prefix: str) -> Any:
            weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            try:
                module.load_state_dict(weights)
            except RuntimeError as error:
                raise RunError(
                    f"{folder}: its weights do not fit its settings, or another version made them"
                ) from error
            return module

        check_masks(folder, card, trust_code)
        generator = build_generator(config, card.adaptive, network_code(folder, card, trust_code))
        extractor = Extractor(config.channels, config.width, config.extractor_depth) if card.extractor else None
        return cls(
            part(generator, "generator."),
            part(extractor, "extractor.") if extractor is not None else None,
            config,
            card,
            resize,
            chosen,
            folder,
        )

    def using(self, estimate: str | None = None, data_consistency: str | None = None) -> Self:
        """Return a reconstructor of the same networks with another estimate or data consistency; None: the same.

        Raises
        ------
        ConfigError
            If it is unknown, or not possible with this method.
        """
        config = _chosen(self.config, estimate, data_consistency)
        return type(self)(self.generator, self.extractor, config, self.card, self.resize, self.device, self.folder)

    def __call__(self, kspace: Any, mask: Any, maps: Any = None) -> Any:
        """Reconstruct images.

        Parameters
        ----------
        kspace
            NumPy array or torch tensor, complex, shape (..., H, W), or (..., n_coils, H, W) with maps; centred.
            Unmeasured samples are ignored.
        mask
            Non-zero where measured; broadcasts to the images' shape: (W,), (H, W), or with leading dimensions.
        maps
            Coil sensitivity maps, complex, in the shape of k-space, with Σ_c |s_c|² = 1; None with one coil. Or
            :class:`switchrecon.physics.operators.Coils`; then k-space is (..., n_coils, H, W), also for one coil.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Array or tensor like the input, shape (..., H, W), in the units of the orthonormal inverse Fourier transform
            of k-space: complex64, or float32 magnitudes if the run has representation ``magnitude``. A slice that is
            all zero gives zeros.

        Raises
        ------
        DataError
            If k-space is real, not finite or too small, the mask does not fit or is empty, or the matrix is not the
            run's.
        """
        set_up(self.device, self.config.precision)
        measured, encoding, shape = self._check(_tensor(kspace), _tensor(mask) != 0, maps)
        images = self._in_parts(measured, encoding, lambda *slices: self._slices(*slices)[:1])[0].reshape(shape)
        return images.numpy() if isinstance(kspace, np.ndarray) else images

    def phased(self, kspace: Tensor, encoding: Encoding) -> Tensor:
        """Return images with their phase, even if the run's images are magnitudes: complex64 (N, H, W).

        Parameters
        ----------
        kspace
            Complex (N, n_coils, H, W).
        encoding
            The encoding that measured it.
        """
        set_up(self.device, self.config.precision)
        measured, encoding, _ = self._check(kspace, encoding.mask, encoding.coils)
        return self._in_parts(measured, encoding, lambda *slices: self._slices(*slices)[1:])[0]

    def explain(self, kspace: Any, mask: Any, maps: Any = None) -> Reconstruction:
        """Reconstruct images, and find which part of them was measured.

        Parameters and errors are those of a call of the reconstructor.
        """
        set_up(self.device, self.config.precision)
        measured, encoding, shape = self._check(_tensor(kspace), _tensor(mask) != 0, maps)
        image, phased, invented, relative, chi_square = self._in_parts(measured, encoding, self._explained)
        return Reconstruction(
            image.reshape(shape), invented.reshape(shape), phased.reshape(shape), Residual(relative, chi_square)
        )

    def checked(self, kspace: Any, mask: Any, maps: Any = None) -> tuple[Tensor, Encoding]:
        """Measured k-space (N, n_coils, H, W), and what encoded it; parameters and errors are those of the call."""
        measured, encoding, _ = self._check(_tensor(kspace), _tensor(mask) != 0, maps)
        return measured, encoding

    def _in_parts(
        self, measured: Tensor, encoding: Encoding, work: Callable[[Tensor, Encoding], tuple[Tensor, ...]]
    ) -> list[Tensor]:
        """Apply ``work`` to a few slices at a time, and return the results on the CPU."""
        # One at a time: at 256x256 a CPU is slower with more, and a slice's bits would depend on its neighbours.
        together = 1 if self.device.type == "cpu" else TOGETHER
        found: list[list[Tensor]] = []
        done = 0
        while done < len(measured):
            part = slice(done, done + together)
            try:
                made = work(measured[part].to(self.device), encoding[part].to(self.device))
                found.append([part.cpu() for part in made])
            except torch.OutOfMemoryError:
                if together == 1:
                    raise
                together //= 2
                continue
            done += together
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _check(self, kspace: Tensor, mask: Tensor, maps: Any) -> tuple[Tensor, Encoding, tuple[int, ...]]:
        """Check the input; return measured k-space (N, n_coils, H, W), its encoding, and the shape of the images."""
        several = maps is not None
        if not kspace.is_complex() or kspace.ndim < 2 + several:
            expected = "(..., coils, H, W)" if several else "(..., H, W)"
            raise DataError(
                f"k-space has type {kspace.dtype} and shape {tuple(kspace.shape)}; expected complex {expected}"
            )
        if kspace.numel() == 0:
            raise DataError(f"k-space has shape {tuple(kspace.shape)}, no sample; expected at least one slice")
        if not torch.isfinite(torch.view_as_real(kspace)).all():
            raise DataError("k-space holds NaN or infinity; expected finite numbers")
        if not mask.any():
            raise DataError("the mask is all zero; expected at least one measured sample")
        kspace = (kspace if several else kspace.unsqueeze(-3)).to(torch.complex64)
        coils = maps if isinstance(maps, Coils) else coils_of(_tensor(maps).to(torch.complex64) if several else None)
        *leading, n_coils, height, width = kspace.shape
        shape = (*leading, height, width)
        try:
            masks = mask.expand(shape).reshape(-1, height, width)
        except RuntimeError:
            raise DataError(f"a mask of shape {tuple(mask.shape)} does not fit images of shape {shape}") from None
        trained = self.card.matrix
        if (height, width) != trained and not self.resize:
            raise DataError(
                f"k-space has a matrix of {height}x{width}, but the run was trained at {trained[0]}x{trained[1]}; to "
                "let its network work at this matrix all the same, add --resize (in Python resize=True), or train at it"
            )

        def checked(maps: Tensor) -> Tensor:
            if not torch.isfinite(torch.view_as_real(maps)).all():
                raise DataError("coil sensitivity maps hold NaN or infinity; expected finite numbers")
            if maps.shape != kspace.shape:
                raise DataError(f"maps of shape {tuple(maps.shape)} do not fit k-space of shape {tuple(kspace.shape)}")
            return maps.reshape(-1, n_coils, height, width)

        measured = Sampling(masks[:, None])(kspace.reshape(-1, n_coils, height, width))
        return measured, Encoding(masks, coils.changed(checked)), shape

    @torch.no_grad()
    def _slices(self, kspace: Tensor, encoding: Encoding) -> tuple[Tensor, Tensor]:
        """Return images (N, H, W) of measured k-space of some slices, and the same images with their phase."""
        image = phased = self._network(kspace, encoding)
        if not image.is_complex():
            # A magnitude has no phase; it gets that of the low-resolution image, which has no aliases.
            low = low_resolution(kspace, self.card.center_fraction, encoding.mask)
            phased = image * torch.sgn(encoding.coils.H(low))
        if self.config.data_consistency != "none":
            weight = 1.0 if self.config.data_consistency == "hard" else trust(phased, kspace, encoding)
            phased = consistent(encoding, phased, kspace, weight)
            image = phased if image.is_complex() else phased.abs()
        empty = ~kspace.flatten(1).any(1)[:, None, None]
        return torch.where(empty, torch.zeros_like(image), image), torch.where(empty, torch.zeros_like(phased), phased)

    @torch.no_grad()
    def _explained(self, kspace: Tensor, encoding: Encoding) -> tuple[Tensor, ...]:
        """Return the tensors of :class:`Reconstruction` for some slices."""
        image, phased = self._slices(kspace, encoding)
        sigma = noise_levels(kspace, encoding)
        invented = invented_part(encoding, phased, sigma)
        if not image.is_complex():
            invented = invented * torch.sgn(phased).conj()
        found = residual(encoding, phased, kspace, sigma)
        return image, phased, invented, found.relative, found.chi_square

    def _network(self, kspace: Tensor, encoding: Encoding) -> Tensor:
        """Scale, apply the networks, and scale back."""
        config = self.config
        scale = intensity_scale(kspace, self.card.center_fraction, config.headroom, encoding.mask, encoding.coils)
        x = to_network(encoding.H(kspace) / scale, config.representation)
        return from_network(self._estimate(x, encoding), config.representation) * scale

    def _estimate(self, x: Tensor, encoding: Encoding) -> Tensor:
        """Return G(x), or the ensemble, for network images (N, channels, H, W)."""
        estimate = run(self.generator, x, encoding)
        if self.config.estimate == "ensemble" and self.extractor is not None:
            return (0.5 * estimate + 0.5 * (x - self.extractor(x))).clamp(-1, 1)
        return estimate


def _tensor(array: Any) -> Tensor:
    if isinstance(array, np.ndarray):
        # In this machine's byte order, and in no wider type than the networks use.
        kind = np.complex64 if np.iscomplexobj(array) else bool if array.dtype == bool else np.float32
        return torch.from_numpy(np.ascontiguousarray(array.astype(kind)))
    return torch.as_tensor(array)
