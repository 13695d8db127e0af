"""Small ISMRMRD files, written with h5py in the layout of the format, for the tests of their reader."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

INDEX = [
    *((name, "<u2") for name in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast")),
    *((name, "<u2") for name in ("phase", "repetition", "set", "segment")),
    ("user", "<u2", (8,)),
]
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        *((name, "<u4") for name in ("measurement_uid", "scan_counter", "acquisition_time_stamp")),
        ("physiology_time_stamp", "<u4", (3,)),
        *((name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")),
        ("channel_mask", "<u8", (16,)),
        *((name, "<u2") for name in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")),
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        *((f"{name}", "<f4", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir")),
        ("patient_table_position", "<f4", (3,)),
        ("idx", INDEX),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
ACQUISITION = np.dtype([("head", HEAD), ("traj", h5py.vlen_dtype("<f4")), ("data", h5py.vlen_dtype("<f4"))])


def header(
    encoded: Sequence[int],
    recon: Sequence[int] | None = None,
    encoded_field: Sequence[float] = (0, 0, 0),
    recon_field: Sequence[float] | None = None,
    centre: Sequence[int] | None = None,
    trajectory: str = "cartesian",
    before: str = "",
    after: str = "",
) -> str:
    """An ISMRMRD header; ``before`` and ``after`` go in before the first and into the encoding."""

    def space(name: str, matrix: Sequence[int], field: Sequence[float]) -> str:
        sizes, lengths = (
            "".join(f"<{axis}>{value}</{axis}>" for axis, value in zip("xyz", values, strict=True))
            for values in (matrix, field)
        )
        return f"<{name}><matrixSize>{sizes}</matrixSize><fieldOfView_mm>{lengths}</fieldOfView_mm></{name}>"

    limits = "".join(
        f"<kspace_encoding_step_{i + 1}><minimum>0</minimum><maximum>{encoded[i + 1] - 1}</maximum>"
        f"<center>{value}</center></kspace_encoding_step_{i + 1}>"
        for i, value in enumerate(centre or (encoded[1] // 2, encoded[2] // 2))
    )
    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{before}<encoding>'
        f"{space('encodedSpace', encoded, encoded_field)}"
        f"{space('reconSpace', recon or encoded, recon_field or encoded_field)}"
        f"<encodingLimits>{limits}</encodingLimits><trajectory>{trajectory}</trajectory>{after}</encoding>"
        "</ismrmrdHeader>"
    )


def readout(samples: np.ndarray, flags: Sequence[int] = (), **fields: object) -> tuple[np.void, np.ndarray]:
    """A head and samples, complex (channels, samples); ``fields`` are of the head or of its index."""
    head = np.zeros((), HEAD)
    head["version"], head["sample_time_us"] = 1, 5
    head["flags"] = sum(1 << (flag - 1) for flag in flags)
    head["active_channels"], head["number_of_samples"] = samples.shape
    head["available_channels"] = head["active_channels"]
    head["center_sample"] = samples.shape[1] // 2
    for name, value in fields.items():
        (head if name in HEAD.names else head["idx"])[name] = value  # type: ignore[operator]
    return head[()], np.ascontiguousarray(samples, np.complex64).view(np.float32).reshape(-1)


def lines_of(kspace: np.ndarray, steps: Sequence[int] | None = None, **fields: object) -> list:
    """One readout a phase encode of (coils, H, W)."""
    chosen = range(kspace.shape[-1]) if steps is None else steps
    return [readout(kspace[..., step], kspace_encode_step_1=step, **fields) for step in chosen]


def write_mrd(path: Path, xml: str | bytes, readouts: list, group: str = "dataset") -> Path:
    """Write a measurement."""
    table = np.empty(len(readouts), ACQUISITION)
    empty = np.zeros(0, np.float32)
    for row, (head, samples) in zip(table, readouts, strict=True):
        row["head"], row["traj"], row["data"] = head, empty, samples
    with h5py.File(path, "a") as file:
        place = file.require_group(group)
        place.create_dataset("xml", data=np.array([xml], dtype=object), dtype=h5py.string_dtype())
        place.create_dataset("data", data=table, dtype=ACQUISITION, maxshape=(None,), chunks=(max(len(table), 1),))
    return path


def random_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    """complex64 noise."""
    random = np.random.RandomState(seed)
    return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)
