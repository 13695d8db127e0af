"""Images and maps as MRD images: geometry, series, units, and the mark that they are for research."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from switchrecon.core.files import NOTE
from switchrecon.scans.header import Encoding, Header
from switchrecon.scans.maps import Map
from switchrecon.scans.orientation import is_forward
from switchrecon.scans.readouts import ORDER, kinds_of
from switchrecon.scans.scan import Scan
from switchrecon.service.asked import Answering
from switchrecon.service.collect import Key, Unit
from switchrecon.service.messages import COMPLEX, IMAGE, MAGNITUDE, image

COPIED = (
    *("measurement_uid", "position", "read_dir", "phase_dir", "slice_dir", "patient_table_position"),
    *("acquisition_time_stamp", "physiology_time_stamp", "user_int", "user_float"),
)
COUNTED = ("average", "slice", "contrast", "phase", "repetition", "set")
SHARED_FLAGS = np.uint64(sum(1 << (number - 1) for number in (*range(5, 17), *range(57, 65))))
"""Flags that mean the same in a readout's head and in an image's: first and last in …, and the users' eight."""
HEADROOM = 2  # factor for the first image, so that brighter slices seldom need another slope


def central_head(unit: Unit, key: Key, encoding: Encoding) -> np.void:
    """The head of the imaging readout of a slice that is nearest to the centre of k-space."""
    head = unit.readouts.head
    same = np.all([head["idx"][name] == value for name, value in zip(ORDER, key, strict=True)], axis=0)
    rows = np.flatnonzero(same & (kinds_of(head, encoding.embedded) == "imaging"))
    steps = [head["idx"][f"kspace_encode_step_{axis + 1}"][rows].astype(int) for axis in (0, 1)]
    middle = [
        size // 2 if centre is None else centre
        for centre, size in zip(encoding.centre, encoding.encoded[1:], strict=True)
    ]
    distance = [np.abs(step - centre) for step, centre in zip(steps, middle, strict=True)]
    found: np.void = head[rows[np.lexsort(distance)[0]]]
    return found


def placed(values: np.ndarray, header: Header, encoding: Encoding, field_of_view: Sequence[float]) -> np.ndarray:
    """A slab (z, H, W) as MRD holds images, (z, y, x) with the readout along x, at the scanner's field of view.

    Oversampling along the phase encode that reconstruction keeps is cropped. A vendor whose directions assume the
    forward transform gets the image turned about its centre, so that the directions of the readouts hold.
    """
    wanted, whole = encoding.recon_field[1], field_of_view[1]
    if 0 < wanted < whole:
        kept = max(round(values.shape[2] * wanted / whole), 1)
        start = values.shape[2] // 2 - kept // 2
        values = values[:, :, start : start + kept]
    turned = values.transpose(0, 2, 1)
    if is_forward(header.vendor):
        for axis in range(3):
            if axis or turned.shape[0] > 1:
                turned = np.roll(np.flip(turned, axis), 1 - turned.shape[axis] % 2, axis)
    return np.ascontiguousarray(turned)


@dataclass
class _Series:
    """One output series: its number, how many images it has, and the slope of its integers."""

    number: int
    images: int = 0
    slope: float = 0.0


@dataclass
class Answers:
    """Makes messages of images.

    Attributes
    ----------
    answering
        How.
    header, encoding
        The header and encoding of the stream, and the space of its image.
    run
        Its name, for people.
    weights
        The SHA-256 of its weights; empty for zero filling.
    after
        The largest number of a series that the client's images have.
    """

    answering: Answering
    header: Header
    encoding: Encoding
    run: str
    weights: str
    after: int = 0
    _series: dict[str, _Series] = field(default_factory=dict)

    def messages(
        self, scan: Scan, unit: Unit, image: np.ndarray, maps: Sequence[Map], said: str, made_by: str
    ) -> Iterator[bytes]:
        """The images of a unit, then its maps, a message for each slice or slab.

        Parameters
        ----------
        scan
            What was reconstructed: k-space with indices, partitions and field of view.
        unit
            Where its readouts are.
        image, maps
            On the scan's matrix, (slices, H, W).
        said
            A sentence on the images.
        made_by
            What goes into the name of the series.
        """
        depth, indices = scan.geometry.partitions, scan.geometry.indices
        assert indices is not None
        keys = [tuple(int(n) for n in row) for row in indices[::depth]]
        chosen = [Map("", image, said), *(maps if self.answering.series == "all" else [])]
        for one in chosen:
            for place, key in enumerate(keys):
                slab = one.values[place * depth : (place + 1) * depth]
                pixels = placed(slab, self.header, self.encoding, scan.geometry.field_of_view)
                yield self._message(one, central_head(unit, key, self.encoding), pixels, made_by)

    def _message(self, one: Map, readout: np.void, values: np.ndarray, made_by: str) -> bytes:
        series = self._series.setdefault(one.name, _Series(self.after + len(self._series) + 1))
        series.images += 1
        head = np.zeros((), IMAGE)
        for name in COPIED:
            head[name] = readout[name]
        for name in COUNTED:
            head[name] = readout["idx"][name]
        head["flags"] = readout["flags"] & SHARED_FLAGS
        head["field_of_view"] = self.encoding.recon_field
        head["image_index"], head["image_series_index"] = series.images & 0xFFFF, series.number & 0xFFFF
        head["image_type"] = COMPLEX if self.answering.pixels == "complex" else MAGNITUDE
        meta = self._meta(one, readout, series, made_by)
        return image(head, meta, self._pixels(values, series, meta))

    def _meta(self, one: Map, readout: np.void, series: _Series, made_by: str) -> dict[str, object]:
        name = f"{made_by}_{one.name}" if one.name else made_by
        return {
            "DataRole": ["Image", "Quantitative"] if one.name else "Image",
            "ImageProcessingHistory": ["switchrecon", made_by],
            "ImageType": f"AI_{one.name.upper() or 'RECON'}",
            "SeriesDescription": f"switchrecon_{name}_RESEARCH",
            "SequenceDescriptionAdditional": f"switchrecon_{name}",
            "ImageComment": f"{NOTE}. {one.about}",
            "Keep_image_geometry": 1,
            "ImageRowDir": [f"{float(value):.18f}" for value in readout["read_dir"]],
            "ImageColumnDir": [f"{float(value):.18f}" for value in readout["phase_dir"]],
            "SwitchreconRun": self.run,
            "SwitchreconWeights": self.weights,
        }

    def _pixels(self, values: np.ndarray, series: _Series, meta: dict[str, object]) -> np.ndarray:
        if self.answering.pixels == "complex":
            return values.astype(np.complex64)
        magnitude = np.abs(values)
        if self.answering.pixels == "float":
            return magnitude.astype(np.float32)
        most, brightest = (1 << self.answering.bits) - 1, float(magnitude.max(initial=0))
        if series.slope == 0:
            series.slope = HEADROOM * brightest / most
        # One slope for a series; an image that does not fit gets another, so that nothing is cut off.
        slope = series.slope if brightest <= series.slope * most else brightest / most
        slope = float(f"{slope * (1 + 1e-6):.9g}") or 1.0
        meta |= {
            "RescaleSlope": f"{slope:.9g}",
            "RescaleIntercept": "0",
            "WindowCenter": f"{brightest / 2:.6g}",
            "WindowWidth": f"{brightest or 1:.6g}",
            "BitsStored": self.answering.bits,
        }
        return np.rint(magnitude / slope).astype("<u2")
