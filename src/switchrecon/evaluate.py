"""Evaluation: trained runs against fully sampled references, with stated masks and metrics."""

import csv
import datetime
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from switchrecon.baselines import zero_filled
from switchrecon.comparison import check_unseen, data_statement, describe_run, load_runs
from switchrecon.config import Config
from switchrecon.data.files import find_files, read_scan
from switchrecon.data.piles import own_mask, usable_slices
from switchrecon.data.scan import Scan
from switchrecon.data.write import atomic_file, write_text
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.fourier import inverse_fourier
from switchrecon.lpips import SMALLEST_SIDE, Lpips, find_weights, load_weights
from switchrecon.masks import measured_acceleration
from switchrecon.metrics import CONVENTIONS, pool, slice_metrics, summarise
from switchrecon.reconstruct import DATA_CONSISTENCIES, ESTIMATES, Reconstructor
from switchrecon.runs import machine, versions

ZERO_FILLED = "zero-filled"
EXAMPLES = 3


@dataclass
class Volume:
    """The evaluated slices of one scan, all (slices, H, W)."""

    scan: str
    numbers: list[int]
    reference: np.ndarray
    masks: np.ndarray
    images: dict[str, np.ndarray] = field(default_factory=dict)
    slices: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # metrics by method


def variants(folder: Path, name: str) -> dict[str, Reconstructor]:
    """Every estimate of a run: under ``name`` the run's own setting, under ``name/…`` the others."""
    own = Reconstructor.load(folder)
    found = {name: own}
    for consistency in DATA_CONSISTENCIES:
        for estimate in ESTIMATES if own.extractor is not None else ESTIMATES[:1]:
            changed = [estimate] if estimate != own.config.estimate else []
            changed += [consistency] if consistency != own.config.data_consistency else []
            if changed:
                found[f"{name}/{'-'.join(changed)}"] = Reconstructor.load(folder, estimate, consistency)
    return found


def evaluate_scan(scan: Scan, config: Config, methods: dict[str, Reconstructor], name: str) -> Volume:
    """Undersample a fully sampled scan and reconstruct it with every method.

    Parameters
    ----------
    scan
        At the matrix of the runs.
    config
        Masks, and what counts as an empty slice.
    methods
        By name.
    name
        The scan's name in the results.
    """
    numbers = usable_slices(scan, config)
    kspace = torch.from_numpy(scan.kspace[numbers])
    masks = torch.stack([own_mask(scan, i, config) for i in numbers])
    volume = Volume(name, numbers, inverse_fourier(kspace).abs().numpy(), masks.numpy())
    volume.images[ZERO_FILLED] = zero_filled(kspace, masks).abs().numpy()
    for method, reconstructor in methods.items():
        volume.images[method] = np.abs(reconstructor(kspace.numpy(), masks.numpy()))
    return volume


def evaluate(
    folders: Sequence[Path],
    references: Sequence[str | Path],
    out: Path,
    convention: str | None = None,
    lpips_weights: Path | None = None,
    title: str = "Evaluation",
    summary: Sequence[str] = (),
    reduced: Sequence[str] = (),
    pictures: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Evaluate runs on fully sampled references, undersampled with the runs' own mask settings.

    Parameters
    ----------
    folders
        Run folders with equal matrix, masks and phase.
    references
        Fully sampled scans of subjects that no run was trained on.
    out
        Gets ``metrics.json``, ``metrics.csv`` (a row a slice), ``evaluation.json`` and ``examples.npz``.
    convention
        ``volume`` or ``slice``; None takes the first run's.
    lpips_weights
        See :func:`switchrecon.lpips.find_weights`; where there is none, LPIPS is null and the report says why.
    title, summary, reduced, pictures
        For the report: sentences, and (file, caption) of pictures in ``out``.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    SwitchreconError
        For runs or references that cannot be used, before anything is written.
    """
    if convention is not None and convention not in CONVENTIONS:
        raise ConfigError(f"unknown convention '{convention}'; {nearest(convention, CONVENTIONS)}")
    if (out / "model.safetensors").exists() or out.is_file():
        raise RunError(f"{out}: is a run or a file; choose another --out for the evaluation")
    runs = load_runs(folders)
    methods = {n: r for name, run in runs.items() for n, r in variants(run.folder, name).items()}
    first = next(iter(methods.values()))
    config = first.config
    convention = convention or config.convention
    perceptual, reason = find_lpips(lpips_weights)
    volumes, data = [], []
    for number, path in enumerate(find_files(references), 1):
        scan = read_scan(path, config).resized(tuple(first.card["matrix"]))
        if scan.mask is not None:
            raise DataError(f"{path}: undersampled k-space; a reference must be fully sampled")
        check_unseen(scan, runs)
        name = f"scan-{number:03d}"
        volumes.append(evaluate_scan(scan, config, methods, name))
        measure(volumes[-1], convention, perceptual)
        kind = "k-space computed from magnitude images (synthetic)" if scan.synthetic else "k-space from the file"
        data.append(f"{name}: {len(volumes[-1].numbers)} of {len(scan.kspace)} slices, {kind}.")
    metrics = score(volumes, convention)
    examples = choose_examples(volumes)
    picked = [{"file": file, "caption": caption} for file, caption in pictures]
    description = {
        "title": title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "summary": [*summary, *result_sentences(metrics, list(runs))],
        "reduced": list(reduced),
        "data": data_statement(config, runs) + data + reason,
        "sampling": {
            **config.mask.model_dump(),
            "measured_acceleration": float(np.mean([measured_acceleration(m) for v in volumes for m in v.masks])),
        },
        "matrix": first.card["matrix"],
        "versions": versions(),
        "machine": machine(),
        "runs": [describe_run(name, run) for name, run in runs.items()],
        "examples": [_example(volumes[v], s) for v, s in examples],
        "example_methods": list(volumes[0].images),
        "pictures": picked,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "metrics.csv", slice_table(volumes))
    _write_examples(out / "examples.npz", volumes, examples)
    write_text(out / "evaluation.json", json.dumps(description, indent=1))
    write_text(out / "metrics.json", json.dumps(metrics, indent=1))
    return metrics


def find_lpips(path: Path | None) -> tuple[Lpips | None, list[str]]:
    """The LPIPS metric and no sentence; or None and why it is absent, where no weights are found.

    Raises
    ------
    DataError
        If the file is there, or named, and cannot be used.
    """
    found = find_weights(path)
    if path is None and not found.exists():
        return None, ["LPIPS is n/a: its weights were not found; see 'switchrecon weights lpips'."]
    return Lpips(load_weights(found)), []


def measure(volume: Volume, convention: str, perceptual: Lpips | None) -> None:
    """Fill in the metrics of every slice and method; LPIPS is NaN where it cannot be computed."""
    for method, images in volume.images.items():
        values = slice_metrics(volume.reference, images, convention)
        for value, reference, image in zip(values, volume.reference, images, strict=True):
            value["lpips"] = math.nan
            if perceptual is not None and min(reference.shape) >= SMALLEST_SIDE:
                maximum = volume.reference.max() if convention == "volume" else reference.max()
                value["lpips"] = perceptual.magnitude(reference / maximum, image / maximum)
        volume.slices[method] = values


def score(volumes: Sequence[Volume], convention: str) -> dict[str, Any]:
    """The content of ``metrics.json``: mean and standard deviation of each metric by method."""
    methods = {
        name: summarise([m for v in volumes for m in pool(v.reference, v.images[name], v.slices[name], convention)])
        for name in volumes[0].images
    }
    return {
        "convention": convention,
        "convention_text": CONVENTIONS[convention],
        "volumes": len(volumes),
        "slices": sum(len(v.numbers) for v in volumes),
        "methods": methods,
    }


def result_sentences(metrics: dict[str, Any], runs: Sequence[str]) -> list[str]:
    """One sentence a run: its own setting against zero filling."""
    methods = metrics["methods"]
    psnr0, ssim0 = (methods[ZERO_FILLED][n]["mean"] for n in ("psnr", "ssim"))
    sentences = []
    for name in runs:
        psnr_mean, ssim_mean = (methods[name][n]["mean"] for n in ("psnr", "ssim"))
        if None in (psnr0, ssim0, psnr_mean, ssim_mean):
            continue  # nothing was left out of k-space, say
        sentences.append(
            f"{name}: {psnr_mean:.2f} dB and SSIM {ssim_mean:.3f}, against {psnr0:.2f} dB and {ssim0:.3f} for zero "
            f"filling ({psnr_mean - psnr0:+.2f} dB, {ssim_mean - ssim0:+.3f})."
        )
    return sentences


def slice_table(volumes: Sequence[Volume]) -> str:
    """CSV text, a row a method and slice."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = list(next(iter(volumes[0].slices.values()))[0])
    writer.writerow(["method", "scan", "slice", "acceleration", *metrics])
    for volume in volumes:
        for method, values in volume.slices.items():
            for number, mask, own in zip(volume.numbers, volume.masks, values, strict=True):
                row = [f"{measured_acceleration(mask):.4f}", *(f"{own[name]:.6g}" for name in metrics)]
                writer.writerow([method, volume.scan, number, *row])
    return text.getvalue()


def choose_examples(volumes: Sequence[Volume]) -> list[tuple[int, int]]:
    """Pick slices at even places over all volumes, whatever their scores: (volume, position)."""
    places = [(v, s) for v, volume in enumerate(volumes) for s in range(len(volume.numbers))]
    count = min(EXAMPLES, len(places))
    return [places[round((i + 0.5) * len(places) / count - 0.5)] for i in range(count)]


def _example(volume: Volume, position: int) -> dict[str, Any]:
    methods = {
        name: {metric: values[position][metric] for metric in ("psnr", "ssim")}
        for name, values in volume.slices.items()
    }
    return {"scan": volume.scan, "slice": volume.numbers[position], "methods": methods}


def _write_examples(target: Path, volumes: Sequence[Volume], examples: Sequence[tuple[int, int]]) -> None:
    names = list(volumes[0].images)
    images = [[volumes[v].images[name][s] for v, s in examples] for name in names]
    with atomic_file(target, suffix=".npz") as temporary:
        np.savez_compressed(
            temporary,
            reference=np.stack([volumes[v].reference[s] for v, s in examples]).astype(np.float32),
            mask=np.stack([volumes[v].masks[s] for v, s in examples]),
            images=np.asarray(images, dtype=np.float32),
        )
