"""Slices that a method learns from, in memory or in files until they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, overload

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from switchrecon.core.device import send
from switchrecon.data.augment import distort, draw_contrast, draw_distortion, move, with_contrast, with_gamma
from switchrecon.physics.fourier import fourier, fourier_centre, inverse_fourier
from switchrecon.physics.intensity import (
    brightness,
    centre_of,
    largest_magnitude,
    low_resolution_of_centre,
    scale_of,
)
from switchrecon.physics.masks import Direction, full_centre_fraction, line_direction, measured_acceleration
from switchrecon.physics.operators import ONE_COIL, Coils

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slice:
    """One slice at the run's matrix.

    Attributes
    ----------
    image
        complex64 (H, W): the image of fully sampled k-space, or the zero-filled one, coils combined; divided by
        ``scale``.
    mask
        Boolean (H, W): where k-space is sampled. For a fully sampled slice, the mask that it would be sampled with.
    scale
        Intensity scale in the units of the file's image; 1 before
        :meth:`switchrecon.data.piles.TrainingData.scaled`.
    volume, index
        File name and slice number.
    subject
        The subject who was scanned.
    coils
        How the receiver coils see the image.
    measured_images
        Images of the measured k-space of each coil, divided by ``scale``, complex64 (n_coils, H, W); None if they are
        what the coils see of ``image``.
    """

    image: Tensor
    mask: Tensor
    scale: float
    volume: str
    index: int
    subject: str
    coils: Coils = ONE_COIL
    measured_images: Tensor | None = None

    def load(self) -> "Slice":
        """Return the slice, which is in memory already."""
        return self

    def to(self, device: torch.device) -> "Slice":
        """Return the slice on a device."""
        if self.image.device == device:
            return self
        return self._changed(lambda tensor: send(tensor, device))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Slice":
        """Return the slice with the same change made to its image, mask, maps and measured images."""
        measured = None if self.measured_images is None else change(self.measured_images)
        coils = self.coils.changed(change)
        return replace(self, image=change(self.image), mask=change(self.mask), coils=coils, measured_images=measured)

    def divided(self, scale: float) -> "Slice":
        """Return the slice divided by its intensity scale."""
        measured = None if self.measured_images is None else self.measured_images / scale
        return replace(self, image=self.image / scale, scale=scale, measured_images=measured)

    @property
    def maps(self) -> Tensor | None:
        """Coil sensitivity maps, complex64 (n_coils, H, W); None with one coil."""
        return self.coils.maps

    @property
    def coil_images(self) -> Tensor:
        """Images of the measured k-space of each coil, complex64 (n_coils, H, W)."""
        return self.coils(self.image) if self.measured_images is None else self.measured_images

    @property
    def kspace(self) -> Tensor:
        """k-space of each coil, complex64 (n_coils, H, W)."""
        return fourier(self.coil_images)

    def brightness(self, center_fraction: float) -> float:
        """See :func:`switchrecon.physics.intensity.brightness`; if possible from the centre of k-space alone."""
        of_centre = largest_magnitude(self.low_resolution(center_fraction, self.mask)).item()
        return of_centre or brightness(self.kspace, center_fraction, self.mask, self.coils).item()

    def full_centre(self, center_fraction: float) -> float:
        """See :func:`switchrecon.physics.masks.full_centre_fraction`."""
        return full_centre_fraction(self.mask.numpy(), center_fraction)

    @property
    def line_direction(self) -> Direction:
        """See :func:`switchrecon.physics.masks.line_direction`."""
        return line_direction(self.mask)

    @property
    def acceleration(self) -> float:
        """See :func:`switchrecon.physics.masks.measured_acceleration`."""
        return measured_acceleration(self.mask.numpy())

    def low_resolution(self, center_fraction: float, mask: Tensor | None = None) -> Tensor:
        """See :func:`switchrecon.physics.intensity.low_resolution`; complex (H, W)."""
        matrix = self.image.shape[-2], self.image.shape[-1]
        samples = fourier_centre(self.coil_images, centre_of(matrix, center_fraction))
        return self.coils.H(low_resolution_of_centre(samples, matrix, center_fraction, mask))

    def sampled_by(self, mask: Tensor) -> "Slice":
        """Return an undersampled slice with only the samples that a mask (H, W) keeps."""
        measured = inverse_fourier(self.kspace * mask)
        return replace(self, image=self.coils.H(measured), mask=self.mask & mask, measured_images=measured)

    def distorted(self, random: RandomState, probability: float) -> "Slice":
        """Return a fully sampled slice and its coils randomly distorted, each distortion with the given probability."""
        matrix, gamma = draw_distortion(random, probability)
        if gamma == 1 and np.array_equal(matrix, np.eye(2, 3)):
            return self
        image = with_gamma(distort(self.image, matrix), gamma)
        return replace(self, coils=self.coils.changed(lambda maps: distort(maps, matrix)))._showing(image)

    def in_another_contrast(self, random: RandomState, center_fraction: float) -> "Slice":
        """Return a fully sampled slice in a random contrast; see :func:`switchrecon.data.augment.draw_contrast`.

        The brightness of its low-resolution image, by which slices are scaled, does not change.
        """
        mapped = self._showing(with_contrast(self.image, draw_contrast(random)))
        before, after = (one.low_resolution(center_fraction).abs().amax() for one in (self, mapped))
        return mapped._showing(mapped.image * (before / after.clamp_min(torch.finfo(after.dtype).tiny)))

    def _showing(self, image: Tensor) -> "Slice":
        """Return the slice with another image; its measured images are what the coils see of that image."""
        return replace(self, image=image, measured_images=None)

    def moved(self, symmetry: int) -> "Slice":
        """Return the slice with its mask and coils moved by a symmetry, see :func:`switchrecon.data.augment.move`."""
        return self._changed(lambda tensor: move(tensor, symmetry))


class SliceSource(Protocol):
    """Where a slice comes from: the slice in memory, or its place in a file.

    Facts that are asked of every slice before training are answered without reading its images, if they are known.
    """

    @property
    def volume(self) -> str:
        """See :class:`Slice`."""
        ...

    @property
    def subject(self) -> str:
        """See :class:`Slice`."""
        ...

    @property
    def scale(self) -> float:
        """See :class:`Slice`."""
        ...

    @property
    def mask(self) -> Tensor:
        """See :class:`Slice`."""
        ...

    @property
    def line_direction(self) -> Direction:
        """See :attr:`Slice.line_direction`."""
        ...

    @property
    def acceleration(self) -> float:
        """See :attr:`Slice.acceleration`."""
        ...

    def brightness(self, center_fraction: float) -> float:
        """See :meth:`Slice.brightness`; only for slices that are not yet divided by their scale."""
        ...

    def full_centre(self, center_fraction: float) -> float:
        """See :meth:`Slice.full_centre`."""
        ...

    def load(self) -> Slice:
        """Return the slice in memory."""
        ...

    def divided(self, scale: float) -> "SliceSource":
        """Return a source of the slice divided by its intensity scale."""
        ...

    def to(self, device: torch.device) -> "SliceSource":
        """Return a source of the same slice; a slice in memory is sent to the device."""
        ...


class Slices(Sequence[Slice]):
    """A sequence of slices; slices that come from files are in memory only while they are used.

    Parameters
    ----------
    sources
        The source of each slice, in order.
    device
        Device to which a slice is sent when it is asked for; None leaves it where it is.
    """

    def __init__(self, sources: Sequence[SliceSource], device: torch.device | None = None) -> None:
        self.sources = list(sources)
        self.device = device

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> "Slices":
        """Return any sequence of slices as :class:`Slices`."""
        return slices if isinstance(slices, cls) else cls(slices)

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> Slice: ...

    @overload
    def __getitem__(self, place: slice) -> "Slices": ...

    def __getitem__(self, place: int | slice) -> "Slice | Slices":
        """Load and return the slice at a place, or return the part of the sequence at several places."""
        if isinstance(place, slice):
            return Slices(self.sources[place], self.device)
        loaded = self.sources[place].load()
        return loaded if self.device is None else loaded.to(self.device)

    def thinned(self, count: int | None) -> "Slices":
        """Return ``count`` of the slices, evenly spread; None: all of them."""
        return Slices(evenly(self.sources, count), self.device)

    def to(self, device: torch.device) -> "Slices":
        """Return the slices on a device: those in memory at once if they fit, all others when they are asked for."""
        try:
            return Slices([source.to(device) for source in self.sources], device)
        except torch.OutOfMemoryError:
            return Slices(self.sources, device)

    def scale(self, center_fraction: float, headroom: float) -> None:
        """Divide each slice by its intensity scale, see :func:`switchrecon.physics.intensity.intensity_scale`.

        Slices are divided one after the other, so that never more than one of them is in memory twice.
        """
        bright = torch.tensor([source.brightness(center_fraction) for source in self.sources])
        for place, scale in enumerate(scale_of(bright, headroom).tolist()):
            self.sources[place] = self.sources[place].divided(scale)


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """Return ``count`` evenly spread items, in order; all of them if there are no more, or ``count`` is None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


@dataclass(frozen=True)
class Prepared:
    """The slices of one scan, before scaling, and facts about the scan.

    Attributes
    ----------
    sources
        Sources of its usable slices.
    subject
        The subject who was scanned.
    matrix
        (H, W).
    digest
        SHA-256 of its files.
    maps
        Whether its slices have coil sensitivity maps.
    dropped
        Number of near-empty slices that were left out.
    synthetic
        Whether its k-space was computed from magnitudes.
    retrospective
        Whether it is fully sampled and was undersampled here.
    acceleration
        The acceleration of the file, at its original matrix; 1 if it is fully sampled.
    """

    sources: Sequence[SliceSource]
    subject: str
    matrix: tuple[int, int]
    digest: str
    maps: bool
    dropped: int
    synthetic: bool
    retrospective: bool
    acceleration: float = 1.0
