"""Evaluation: trained runs against fully sampled references, with stated masks and metrics."""

import datetime
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from switchrecon.config import Config
from switchrecon.core.files import atomic_file, write_text
from switchrecon.data.coils import with_maps
from switchrecon.data.corruption import corrupted
from switchrecon.data.piles import evenly, usable_slices
from switchrecon.errors import ConfigError, DataError, RunError, nearest
from switchrecon.evaluation.baselines import zero_filled
from switchrecon.evaluation.records import Description, Evaluation, Example, Picture, Sampling
from switchrecon.evaluation.runs import check_unseen, data_statement, describe_run, load_runs
from switchrecon.evaluation.volumes import (
    ZERO_FILLED,
    Volume,
    csv_text,
    error_spectra,
    measure,
    score,
    slice_rows,
    units,
)
from switchrecon.metrics.conventions import CONVENTIONS, explain, seen
from switchrecon.metrics.table import METRICS, Metric, find_metrics
from switchrecon.nets.builder import ends_consistent
from switchrecon.physics.fourier import inverse_fourier
from switchrecon.physics.masks import measured_acceleration
from switchrecon.physics.noise import relative_noise
from switchrecon.reconstruction.reconstructor import ESTIMATES, Reconstructor
from switchrecon.runs.environment import machine, versions
from switchrecon.scans.files import ScanInput, find_scans, read_scan
from switchrecon.scans.scan import Scan, own_mask
from switchrecon.scans.series import series_in_words

EXAMPLES = 3
SHOWN = ("psnr", "ssim")  # metrics under example pictures and in sentences


def variants(run: Reconstructor, name: str, consistencies: Sequence[str] = ()) -> dict[str, Reconstructor]:
    """Return every estimate of a run, without and with hard data consistency, and with others that are asked for.

    The estimate that the run is set to is called ``name``, the others ``name/…``.

    If the network itself ends with hard data consistency, restoring measured samples changes nothing with one coil;
    with several coils its last step does not restore them completely. Soft consistency would change nothing: left out.
    """
    found = {name: run}
    exact = ends_consistent(run.generator, run.card.coils)
    for consistency in dict.fromkeys(("none", "hard", *consistencies)):
        for estimate in ESTIMATES if run.extractor is not None else ESTIMATES[:1]:
            changed = [estimate] if estimate != run.config.estimate else []
            changed += [consistency] if consistency != run.config.data_consistency else []
            same = exact and estimate == "generator" and consistency == "hard" and run.config.data_consistency == "none"
            if changed and not same and not (exact and consistency == "soft"):
                found[f"{name}/{'-'.join(changed)}"] = run.using(estimate, consistency)
    return found


def evaluate_scan(
    scan: Scan, numbers: list[int], config: Config, methods: dict[str, Reconstructor], name: str, subject: str
) -> Volume:
    """Undersample a fully sampled scan and reconstruct it with every method.

    Parameters
    ----------
    scan
        Scan at the matrix of the runs.
    numbers
        Numbers of the slices to evaluate.
    config
        Settings of the masks.
    methods
        Reconstructors by name.
    name, subject
        Names of the scan and its subject in the results.
    """
    references = scan.sensitivity().H(inverse_fourier(torch.from_numpy(scan.kspace))).abs().numpy()
    coils = scan.sensitivity(numbers)
    masks = torch.stack([own_mask(scan, i, config) for i in numbers])
    maximum = float(seen(references, "fastmri").max())
    kspace = corrupted(scan, config.corruption).kspace[numbers]
    noise = relative_noise(kspace, masks.numpy(), references[numbers])
    volume = Volume(name, subject, numbers, references[numbers], maximum, masks.numpy(), noise)
    measured = torch.from_numpy(kspace)
    volume.images[ZERO_FILLED] = zero_filled(measured, masks, coils).abs().numpy()
    for method, reconstructor in methods.items():
        volume.images[method] = reconstructor(measured, masks, coils).abs().numpy()
    return volume


def evaluate(
    folders: str | Path | Sequence[str | Path],
    references: ScanInput | Sequence[ScanInput],
    out: str | Path,
    conventions: Sequence[str] = (),
    lpips_weights: Path | None = None,
    slices_per_scan: int | None = None,
    title: str = "Evaluation",
    summary: Sequence[str] = (),
    reduced: Sequence[str] = (),
    pictures: Sequence[tuple[str, str]] = (),
    consistencies: Sequence[str] = (),
    device: str | None = None,
    metrics: Sequence[str | Metric] = (),
    trust_code: bool = False,
    subject_table: Path | None = None,
    overwrite: bool = False,
    names: bool = False,
) -> Evaluation:
    """Evaluate runs on fully sampled references, undersampled with the runs' mask settings.

    Parameters
    ----------
    folders
        Run folders with equal matrix, masks and phase.
    references
        Fully sampled scans of subjects that no run was trained on.
    out
        Folder for ``metrics.json``, ``metrics.csv`` (one row for each slice), ``units.csv`` (one row for each value
        that a mean is taken of, in every convention), ``images.npz`` (zero filling, and the estimate of each run, as
        fractions of the reference's maximum, float16), ``evaluation.json`` and ``examples.npz``.
    conventions
        Some of ``fastmri`` and ``slice-max``: reports show the first; none: the first run's. All are stored.
    lpips_weights
        See :func:`switchrecon.metrics.lpips.find_weights`; without them LPIPS is null, and the report says why.
    slices_per_scan
        Number of usable slices of each reference, evenly spread; None: all.
    title, summary, reduced, pictures
        For the report: sentences, and (file, caption) of pictures in ``out``.
    consistencies
        Further kinds of data consistency to measure, besides ``none`` and ``hard``.
    device
        Device for the reconstruction; see :func:`switchrecon.core.device.find_device`.
    metrics
        Metrics besides those of the package's table; see :func:`switchrecon.metrics.table.find_metrics`.
    trust_code
        See :meth:`~switchrecon.reconstruction.reconstructor.Reconstructor.load`.
    subject_table
        Table of who was scanned, instead of the runs' (setting ``subjects``).
    overwrite
        Replace an evaluation that ``out`` holds.
    names
        Keep the names of the references' files, which may tell who was scanned.

    Returns
    -------
    Evaluation
        The content of ``metrics.json``.

    Raises
    ------
    SwitchreconError
        If runs or references cannot be used; nothing has been written then.
    """
    for name in conventions:
        if name not in CONVENTIONS:
            raise ConfigError(f"unknown convention '{name}'; {nearest(name, CONVENTIONS)}")
    run_folders = [Path(one) for one in ([folders] if isinstance(folders, str | Path) else folders)]
    out = Path(out)
    if (out / "model.safetensors").exists() or out.is_file():
        raise RunError(f"{out}: is a run or a file; choose another --out for the evaluation")
    runs = load_runs(run_folders, device, trust_code)
    loaded = [run.reconstructor for run in runs.values()]
    if "soft" in consistencies and all(ends_consistent(each.generator, each.card.coils) for each in loaded):
        loaded[0].using(loaded[0].config.estimate, "soft")  # the error says what to do instead
    methods = {n: r for name, run in runs.items() for n, r in variants(run.reconstructor, name, consistencies).items()}
    first = next(iter(methods.values()))
    config = first.config
    reading = config.reading if subject_table is None else replace(config.reading, subjects=subject_table)
    convention = conventions[0] if conventions else config.convention
    measured = find_metrics(metrics, lpips_weights)
    if (out / "evaluation.json").exists() and not overwrite:
        raise RunError(f"{out}: holds an evaluation already; add --overwrite or choose another --out")
    columns = tuple(metric.column for metric in measured)
    volumes: list[Volume] = []
    subjects: dict[str, str] = {}
    kept_names: dict[str, str] = {}
    data = []
    for number, path in enumerate(find_scans(references), 1):
        scan = read_scan(path, reading).resized(first.card.matrix)
        if scan.mask is not None:
            raise DataError(f"{scan.path}: undersampled k-space; a reference must be fully sampled")
        scan = with_maps(scan, config)
        check_unseen(scan, runs)
        name = f"scan-{number:03d}"
        kept_names |= {name: scan.path.name} if names else {}
        subject = subjects.setdefault(scan.subject, f"subject-{len(subjects) + 1:03d}")
        numbers = evenly(usable_slices(scan, config), slices_per_scan)
        volumes.append(evaluate_scan(scan, numbers, config, methods, name, subject))
        measure(volumes[-1], measured)
        kind = "k-space computed from magnitude images (synthetic)" if scan.synthetic else "k-space from the file"
        noise = volumes[-1].noise
        told = f", noise at most {noise:.2%} of the brightest pixel" if math.isfinite(noise) else ""
        series = f" of {words}" if (words := series_in_words(scan)) else ""
        said = f"{name} ({scan.path.name})" if names else name
        data.append(f"{said}: {len(numbers)} of {len(scan.kspace)} slices{series}, {kind}{told}.")
    scores = {name: score(volumes, name) for name in CONVENTIONS}
    evaluation = Evaluation(
        convention=convention,
        convention_text=explain(convention, columns),
        volumes=len(volumes),
        subjects=len(subjects),
        slices=sum(len(v.numbers) for v in volumes),
        methods=scores[convention],
        conventions=scores,
        error_spectrum=error_spectra(volumes),
        columns=columns,
    )
    examples = choose_examples(volumes)
    absent = [
        metric.lacks or metric.too_small(seen(v.reference, convention).shape) for metric in measured for v in volumes
    ]
    description = Description(
        title=title,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        summary=[*summary, *result_sentences(evaluation, list(runs))],
        reduced=list(reduced),
        data=[*data_statement(config, runs), *data, *dict.fromkeys(filter(None, absent))],
        sampling=Sampling(
            **config.mask.model_dump(include=set(Sampling.model_fields)),
            measured_acceleration=float(np.mean([measured_acceleration(m) for v in volumes for m in v.masks])),
        ),
        matrix=first.card.matrix,
        versions=versions(),
        machine=machine(first.device),
        runs=[describe_run(name, run) for name, run in runs.items()],
        cards=[run.card.public() for run in runs.values()],
        examples=[_example(volumes[v], s, convention) for v, s in examples],
        example_methods=list(volumes[0].images),
        pictures=[Picture(file=file, caption=caption) for file, caption in pictures],
        names=kept_names,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "metrics.csv", csv_text(slice_rows(volumes, convention)))
    write_text(out / "units.csv", csv_text(units(volumes)))
    _write_images(out / "images.npz", volumes, list(runs))
    _write_examples(out / "examples.npz", volumes, examples)
    description.write(out / "evaluation.json")
    evaluation.write(out / "metrics.json")
    return evaluation


def result_sentences(evaluation: Evaluation, runs: Sequence[str]) -> list[str]:
    """Return one sentence a run: PSNR and SSIM with the run's settings against zero filling."""
    shown = [METRICS[name].column for name in SHOWN]
    sentences = []
    for name in runs:
        known = [
            (column, run, zero)
            for column in shown
            if (run := evaluation.value(name, column.name).mean) is not None
            and (zero := evaluation.value(ZERO_FILLED, column.name).mean) is not None
        ]
        if len(known) < len(shown):
            continue  # nothing was left out of k-space, say
        ours = " and ".join(column.told(run) for column, run, _ in known)
        theirs = " and ".join(column.told(zero) for column, _, zero in known)
        gains = ", ".join(f"{c.text(run - zero, signed=True)} {c.unit}".strip() for c, run, zero in known)
        sentences.append(f"{name}: {ours}, against {theirs} for zero filling ({gains}).")
    return sentences


def choose_examples(volumes: Sequence[Volume]) -> list[tuple[int, int]]:
    """Choose evenly spread slices of all volumes, whatever their scores: (volume, position)."""
    return evenly([(v, s) for v, volume in enumerate(volumes) for s in range(len(volume.numbers))], EXAMPLES)


def _example(volume: Volume, position: int, convention: str) -> Example:
    methods = {
        name: {metric: values[position][metric] for metric in SHOWN}
        for name, values in volume.slices[convention].items()
    }
    return Example(scan=volume.scan, slice=volume.numbers[position], methods=methods)


def _write_images(target: Path, volumes: Sequence[Volume], runs: Sequence[str]) -> None:
    def flat(images: list[np.ndarray]) -> np.ndarray:
        fractions = [
            image / (reference.max() or 1)
            for volume, stack in zip(volumes, images, strict=True)
            for reference, image in zip(volume.reference, stack, strict=True)
        ]
        return np.stack(fractions).astype(np.float16)

    names = [ZERO_FILLED, *runs]
    with atomic_file(target, suffix=".npz") as temporary:
        np.savez_compressed(
            temporary,
            scan=np.array([v.scan for v in volumes for _ in v.numbers]),
            slice=np.array([n for v in volumes for n in v.numbers]),
            reference=flat([v.reference for v in volumes]),
            maximum=np.concatenate([v.reference.max((-2, -1)) for v in volumes]),
            volume_maximum=np.array([v.maximum for v in volumes for _ in v.numbers]),
            mask=np.concatenate([v.masks for v in volumes]),
            methods=np.array(names),
            images=np.stack([flat([v.images[name] for v in volumes]) for name in names]),
        )


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
