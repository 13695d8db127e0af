"""Write images as a BIDS derivative: NIfTI with a sidecar, in a dataset that says which software made it."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import nibabel
import numpy as np

from switchrecon.core.files import NOTE, atomic_file, write_text
from switchrecon.errors import DataError
from switchrecon.scans.formats import Format
from switchrecon.scans.names import known_name, stem
from switchrecon.scans.nifti import nifti_image
from switchrecon.scans.scan import Scan, description

BIDS_VERSION = "1.10.0"
GENERATOR = "switchrecon"
ENTITIES = ("ses", "acq", "ce", "rec", "run")  # entities that BIDS allows for every image, in its order
ORDER = ("ses", "acq", "ce", "rec", "dir", "run", "echo", "flip", "inv", "mt", "part")  # of all entities
CONTRASTS = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "angio", "inplaneT1", "inplaneT2", "UNIT1")
MORE = {  # further entities that BIDS allows, by suffix
    **dict.fromkeys(CONTRASTS, ("echo", "part")),
    "IRT1": ("inv", "part"),
    "MEGRE": ("echo", "part"),
    "MESE": ("echo", "part"),
    "MP2RAGE": ("echo", "flip", "inv", "part"),
    "MPM": ("echo", "flip", "mt", "part"),
    "MTR": ("mt", "part"),
    "MTS": ("echo", "flip", "mt", "part"),
    "VFA": ("echo", "flip", "part"),
}
SUFFIXES = {name: name for name in MORE} | {"T1": "T1w", "T2": "T2w", "PD": "PDw", "MRA": "angio"}  # and IXI's
# BIDS has no suffix for an MR image of unknown contrast. This one claims no weighting: it means the amplitude of the
# observed signal.
UNKNOWN_CONTRAST = "S0map"


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def bids_name(path: Path, number: int) -> str:
    """Return where the image of a scan lies in the dataset.

    Subject, session and the like come from a BIDS or IXI name. Any other scan is called by its ``number``, because its
    name may say who was scanned. An entity that BIDS does not allow with the suffix becomes a part of ``acq``, so that
    different names stay different.
    """
    known = known_name(path)
    subject = _label(known["subject"]) if known else f"{number:03d}"
    pairs = dict(re.findall(r"_([a-z]+)-([^_.]+)", stem(path))) if known else {}
    kept = {key: _label(pairs[key]) for key in ORDER if _label(pairs.get(key, ""))}
    return _bids_path(subject, kept, SUFFIXES.get((known or {}).get("contrast", ""), UNKNOWN_CONTRAST))


def _bids_path(subject: str, entities: dict[str, str], suffix: str) -> str:
    allowed = (*ENTITIES, *MORE.get(suffix, ()))
    others = "".join(key + value for key, value in entities.items() if key not in allowed)
    kept = {key: entities[key] for key in ORDER if key in entities and key in allowed}
    if others:
        kept["acq"] = kept.get("acq", "") + others
    pairs = [f"{key}-{kept[key]}" for key in ORDER if key in kept]
    session = f"ses-{kept['ses']}/" if "ses" in kept else ""
    return f"sub-{subject}/{session}anat/{'_'.join([f'sub-{subject}', *pairs, 'desc-recon', suffix])}.nii.gz"


def series_target(target: Path, labels: dict[str, int]) -> Path:
    """Return the file of one series of a scan: ``run`` for repetitions, ``echo`` for contrasts, else ``rec``."""
    pairs = dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)", target.name))
    subject, suffix = pairs.pop("sub"), stem(target).rsplit("_", 1)[1]
    pairs.pop("desc", None)
    for name, number in labels.items():
        entity = {"repetition": "run", "contrast": "echo"}.get(name, "rec")
        if entity == "rec" or entity in pairs:
            pairs["rec"] = pairs.get("rec", "") + f"{name}{number}"
        else:
            pairs[entity] = str(number)
    ordered = {key: pairs[key] for key in ORDER if key in pairs}
    return target.with_name(Path(_bids_path(subject, ordered, suffix)).name)


def _describe_dataset(root: Path) -> None:
    """Write ``dataset_description.json`` and ``README``, unless they exist already.

    Raises
    ------
    DataError
        If the folder holds a dataset that something else made.
    """
    file = root / "dataset_description.json"
    if file.exists():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            ours = found["DatasetType"] == "derivative" and found["GeneratedBy"][0]["Name"] == GENERATOR
        except (ValueError, KeyError, IndexError, TypeError):
            ours = False
        if not ours:
            raise DataError(f"{file}: describes a dataset of something else; choose another --out")
        return
    description = {
        "Name": "switchrecon reconstructions: research use only, not for diagnosis",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": version(GENERATOR)}],
    }
    if not (root / "README").exists():
        write_text(
            root / "README",
            "MR images reconstructed from undersampled k-space by a neural network.\n"
            "Research use only, not for diagnosis: a network can invent or remove structure.\n",
        )
    write_text(file, json.dumps(description, indent=2) + "\n")


def write_bids(scan: Scan, images: np.ndarray, target: Path) -> None:
    """Write magnitudes with a sidecar; see :func:`~switchrecon.scans.nifti.nifti_image`.

    Parameters
    ----------
    scan
        Without padding.
    images
        (slices, H, W), real or complex.
    target
        The file; its path in the dataset as :func:`bids_name` says.

    Raises
    ------
    DataError
        If the folder holds a dataset that something else made.
    """
    levels = 3 if target.parent.parent.name.startswith("ses-") else 2
    _describe_dataset(target.parents[levels])
    sidecar = {
        "Description": f"{NOTE}. Reconstructed {description(scan)}",
        "Sources": [scan.path.name],
        "SkullStripped": False,
        "GeometryKnown": scan.affine is not None,
    }
    beside = target.with_name(f"{stem(target)}.json")
    # The sidecar is moved into place first: no image is ever without it.
    with atomic_file(target, ".nii.gz") as image, atomic_file(beside) as text:
        nibabel.save(nifti_image(scan, images), image)
        text.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


FORMAT = Format(
    name="BIDS derivative", option="bids", write_images=write_bids, image_name=bids_name, series_name=series_target
)
