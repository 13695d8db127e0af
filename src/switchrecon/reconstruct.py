"""Reconstruction: from measured k-space and its mask to images, with a trained run."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from switchrecon.checkpoint import load_model
from switchrecon.config import Config, DataConsistency, Estimate, parse_config
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.fourier import inverse_fourier, resize_image, resize_kspace
from switchrecon.nets.extractor import Extractor
from switchrecon.operators import Fourier, Sampling, data_consistency
from switchrecon.players import build_generator, run
from switchrecon.scaling import from_network, intensity_scale, low_resolution, to_network

ESTIMATES: tuple[str, ...] = get_args(Estimate)
DATA_CONSISTENCIES: tuple[str, ...] = get_args(DataConsistency)


def _chosen(config: Config, estimate: str | None, data_consistency: str | None) -> Config:
    changes = {"estimate": estimate, "data_consistency": data_consistency}
    for (name, value), valid in zip(changes.items(), (ESTIMATES, DATA_CONSISTENCIES), strict=True):
        if value is not None and value not in valid:
            raise ConfigError(f"unknown {name} '{value}'; {nearest(value, valid)}")
    return config.model_copy(update={name: value for name, value in changes.items() if value is not None})


class Reconstructor:
    """A trained reconstruction: ``image = reconstructor(kspace, mask)``.

    Make one with :meth:`load`.

    Parameters
    ----------
    generator, extractor
        The networks; the extractor is needed for the ensemble estimate alone.
    config
        The run's settings.
    card
        What the run's model file says of itself.
    resize
        Whether k-space of another matrix is resized to the run's one and the image back; refused otherwise.
    """

    def __init__(
        self,
        generator: nn.Module,
        extractor: Extractor | None,
        config: Config,
        card: dict[str, Any],
        resize: bool,
    ) -> None:
        self.generator = generator.eval()
        self.extractor = extractor.eval() if extractor is not None else None
        self.config = config
        self.card = card
        self.resize = resize
        if config.estimate == "ensemble" and extractor is None:
            raise ConfigError(
                f"estimate 'ensemble' needs the extractor H, which method '{config.method}' has not; choose 'generator'"
            )

    @classmethod
    def load(
        cls,
        run: str | Path,
        estimate: str | None = None,
        data_consistency: str | None = None,
        resize: bool = False,
    ) -> "Reconstructor":
        """Load a run folder.

        Parameters
        ----------
        run
            Folder with ``model.safetensors``.
        estimate
            ``generator``: G(x). ``ensemble``: ½ G(x) + ½ (x − H(x)), clipped to the data range. None: the run's.
        data_consistency
            ``none``, or ``hard``: measured k-space replaces the image's own. None: the run's.
        resize
            Allow scans of another matrix than the training one.

        Raises
        ------
        RunError
            If the folder holds no sound model.
        ConfigError
            For an unknown estimate or data consistency, or one that this method cannot give.
        """
        folder = Path(run)
        if not folder.is_dir():
            raise RunError(f"{folder}: no such run folder")
        tensors, card = load_model(folder / "model.safetensors")
        config = _chosen(parse_config(card["config"], str(folder)), estimate, data_consistency)

        def part(module: Any, prefix: str) -> Any:
            weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            try:
                module.load_state_dict(weights)
            except RuntimeError as error:
                raise RunError(
                    f"{folder}: its weights do not fit its settings, or another version made them"
                ) from error
            return module

        generator = build_generator(config, card["adaptive"])
        extractor = Extractor(config.channels, config.width, config.extractor_depth) if card["extractor"] else None
        return cls(
            part(generator, "generator."),
            part(extractor, "extractor.") if extractor is not None else None,
            config,
            card,
            resize,
        )

    def using(self, estimate: str | None = None, data_consistency: str | None = None) -> "Reconstructor":
        """The same networks with another estimate or data consistency; None keeps the own one.

        Raises
        ------
        ConfigError
            For an unknown one, or one that this method cannot give.
        """
        config = _chosen(self.config, estimate, data_consistency)
        return Reconstructor(self.generator, self.extractor, config, self.card, self.resize)

    def __call__(self, kspace: Any, mask: Any) -> Any:
        """Reconstruct images.

        Parameters
        ----------
        kspace
            NumPy array or torch tensor, complex, shape (..., H, W), centred. Unmeasured samples are ignored.
        mask
            Non-zero where measured; broadcasts to k-space: (W,), (H, W), or with leading dimensions.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            As the input; shape (..., H, W), in the units of the orthonormal inverse Fourier transform of k-space:
            complex64 where the run is complex, float32 magnitude where it is not. A slice that is all zero gives
            zeros.

        Raises
        ------
        DataError
            For real, non-finite or too small k-space, a mask that does not fit or is empty, or another matrix
            than the run's.
        """
        numpy = isinstance(kspace, np.ndarray)
        if numpy and np.iscomplexobj(kspace):
            kspace = kspace.astype(np.complex64)  # in this machine's byte order, too
        given = torch.from_numpy(np.ascontiguousarray(kspace)) if numpy else torch.as_tensor(kspace)
        own_mask = (
            torch.from_numpy(np.asarray(mask) != 0) if isinstance(mask, np.ndarray) else torch.as_tensor(mask) != 0
        )
        measured, masks = self._check(given, own_mask)
        images = torch.cat([self._one(k[None], m[None]) for k, m in zip(measured, masks, strict=True)])
        images = images.reshape(given.shape)
        return images.numpy() if numpy else images

    def _check(self, kspace: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Measured k-space and masks, both flattened to (N, H, W)."""
        if not kspace.is_complex() or kspace.ndim < 2:
            raise DataError(
                f"k-space has type {kspace.dtype} and shape {tuple(kspace.shape)}; expected complex (..., H, W)"
            )
        if not torch.isfinite(torch.view_as_real(kspace)).all():
            raise DataError("k-space holds NaN or infinity; expected finite numbers")
        if not mask.any():
            raise DataError("the mask is all zero; expected at least one measured sample")
        kspace = kspace.to(torch.complex64)
        measured = Sampling(mask)(kspace)
        height, width = kspace.shape[-2:]
        trained = tuple(self.card["matrix"])
        if (height, width) != trained and not self.resize:
            raise DataError(
                f"k-space has a matrix of {height}x{width}, but the run was trained at {trained[0]}x{trained[1]}; "
                "allow resizing in k-space or train at this matrix"
            )
        masks = mask.expand(kspace.shape).reshape(-1, height, width)
        return measured.reshape(-1, height, width), masks

    @torch.no_grad()
    def _one(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Measured k-space and mask (1, H, W) to an image (1, H, W)."""
        complex_run = self.config.representation == "complex"
        if not kspace.any():
            return kspace.clone() if complex_run else kspace.abs()
        own = (kspace.shape[-2], kspace.shape[-1])
        matrix: tuple[int, int] = tuple(self.card["matrix"])
        small_mask = resize_kspace(mask.float(), matrix) > 0
        image = resize_image(self._network(resize_kspace(kspace, matrix), small_mask), own)
        if self.config.data_consistency == "none":
            return image
        operator = Sampling(mask) @ Fourier()
        if complex_run:
            return data_consistency(operator, image, kspace)
        # A magnitude has no phase of its own; the alias-free low-resolution image lends it one.
        phase = torch.sgn(low_resolution(kspace, self.card["center_fraction"], mask))
        return data_consistency(operator, image * phase, kspace).abs()

    def _network(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Scale, networks, scale back, at the run's matrix (1, H, W)."""
        config = self.config
        scale = intensity_scale(kspace, self.card["center_fraction"], config.headroom, mask)
        x = to_network(inverse_fourier(kspace) / scale, config.representation)
        return from_network(self._estimate(x, mask), config.representation) * scale

    def _estimate(self, x: Tensor, mask: Tensor) -> Tensor:
        """G(x), or the ensemble, of network images (1, channels, H, W)."""
        estimate = run(self.generator, x, mask)
        if self.config.estimate == "ensemble" and self.extractor is not None:
            return (0.5 * estimate + 0.5 * (x - self.extractor(x))).clamp(-1, 1)
        return estimate
