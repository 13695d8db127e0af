"""Are the two piles alike? A two-sample test on what both show without aliasing: low-resolution images and noise.

The centre of X's k-space is fully sampled, so its low-resolution images can be compared with those of Y before any
training. Adversarial methods make G(X) look like Y: if the piles differ in contrast, noise or anatomy, such a method
learns that difference as if it were part of the reconstruction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from switchrecon.config import Config
from switchrecon.core.messages import counted
from switchrecon.core.seeds import numpy_random
from switchrecon.data.coils import one_coil
from switchrecon.data.corruption import corrupted
from switchrecon.data.features import FEATURES, LEAST_CENTRE, SliceCentre, centre_features, slice_centre
from switchrecon.data.piles import check_disjoint, evenly, usable_slices
from switchrecon.errors import DataError
from switchrecon.physics.masks import full_centre_fraction, line_direction, measured_acceleration
from switchrecon.scans.files import ScanInput, find_scans, read_scan
from switchrecon.scans.scan import Scan, check_fully_sampled, own_mask

RIDGE = 0.1  # is added to variances, relative to that of all slices, so that no feature gets too much weight
RESAMPLES = 2000
DIFFER, ALIKE = 0.65, 0.75  # limits of the AUC's interval: above the first, or below the second
ENOUGH = 4  # least subjects in each pile before they are called alike
LARGE = 0.8  # a standardised difference that the sentence mentions
SHOWN = 6


@dataclass
class Domain:
    """Features and example images of one pile."""

    features: np.ndarray  # (slices, features)
    subjects: list[str]  # of each slice
    examples: list[np.ndarray]
    paths: dict[str, Path]
    accelerations: list[float]
    lines: bool


@dataclass(frozen=True)
class Glance:
    """All of one scan that the comparison needs.

    Attributes
    ----------
    path, subject, matrix
        As of the scan.
    fraction
        Fraction of each side of k-space whose centre is fully measured, at most that of the settings.
    lines
        Whether its mask has whole lines.
    centres, accelerations
        The centres and accelerations of each usable slice.
    """

    path: Path
    subject: str
    matrix: tuple[int, int]
    fraction: float
    lines: bool
    centres: list[SliceCentre]
    accelerations: list[float]


def glance_at(source: Path | Scan, config: Config, matrix: tuple[int, int] | None, measured: bool) -> Glance:
    """Read one scan for the comparison.

    Parameters
    ----------
    source
        The scan.
    config
        Settings of masks, and of what counts as empty.
    matrix
        Matrix to which the scan is resized; None: its own.
    measured
        Whether the scan is of X, which the settings may corrupt.

    Raises
    ------
    DataError
        If the scan cannot be used, or is undersampled though it is of Y.
    """
    scan = read_scan(source, config.reading)
    if not measured:
        check_fully_sampled(scan, "--full needs fully sampled scans")
    scan = scan.resized(matrix)
    fraction = _fraction(scan, config)
    scan = corrupted(scan, config.corruption) if measured else scan
    kspace, centres, accelerations = one_coil(scan), [], []
    for index in evenly(usable_slices(scan, config), config.slices_per_scan):
        mask = scan.mask[index] if scan.mask is not None else np.ones(scan.matrix, dtype=bool)
        # Of scans that will be undersampled, only the samples that a training will see are used.
        seen = own_mask(scan, index, config).numpy() if measured else mask
        centres.append(slice_centre(kspace[index], seen, config.mask.center_fraction))
        accelerations.append(measured_acceleration(mask))
    lines = scan.mask is not None and line_direction(scan.mask[0]) is not None
    return Glance(scan.path, scan.subject, scan.matrix, fraction, lines, centres, accelerations)


def read_domains(
    full: Sequence[Path | Scan], sub: Sequence[Path | Scan], config: Config
) -> tuple[Domain, Domain, float]:
    """Read the scans of Y and X; return their features, and the fraction of k-space that was compared.

    The centre of k-space that all of X has measured is compared. If the scans have different matrices, they are resized
    to the smallest height and the smallest width. Then centres with equally many samples show the same resolution, to
    whatever matrix the scans were zero-padded. Each scan is read once, or twice if it has to be resized.

    Raises
    ------
    DataError
        If a file cannot be used, Y is undersampled, or X has no fully measured centre.
    """
    if not full or not sub:
        raise DataError("no scans to compare: give --full and --sub")
    sources = [(source, False) for source in full] + [(source, True) for source in sub]
    seen = [glance_at(source, config, None, of_x) for source, of_x in counted(sources, "comparing the piles: scan")]
    smallest = min(each.matrix[0] for each in seen), min(each.matrix[1] for each in seen)
    for place, (source, of_x) in enumerate(sources):
        if seen[place].matrix != smallest:
            seen[place] = glance_at(source, config, smallest, of_x)
    y, x = seen[: len(full)], seen[len(full) :]
    fraction = min(each.fraction for each in x)
    if any(round(fraction * side) < LEAST_CENTRE for side in smallest):
        raise DataError(
            f"--sub: the fully measured centre of k-space is {fraction:.3f} of a side, less than {LEAST_CENTRE} "
            f"samples at {smallest[0]}x{smallest[1]}: there is no image without aliases to compare"
        )
    return domain_of(y, fraction), domain_of(x, fraction), fraction


def domain_of(scans: Sequence[Glance], fraction: float) -> Domain:
    """Return the features of every usable slice of a pile, from this fraction of each side of k-space."""
    domain = Domain(np.empty((0, len(FEATURES))), [], [], {}, [], any(scan.lines for scan in scans))
    rows = []
    for scan in scans:
        domain.paths.setdefault(scan.subject, scan.path)
        domain.accelerations += scan.accelerations
        domain.subjects += [scan.subject] * len(scan.centres)
        for centre in scan.centres:
            numbers, image = centre_features(centre, fraction)
            rows.append(numbers)
            domain.examples.append(image / (image.max() or 1))
    domain.features = np.array(rows)
    return domain


def _fraction(scan: Scan, config: Config) -> float:
    wanted = config.mask.center_fraction
    return wanted if scan.mask is None else min(full_centre_fraction(mask, wanted) for mask in scan.mask)


def auc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve: the probability that a positive score is larger; ties count half."""
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def cross_validated_scores(full: Domain, sub: Domain) -> tuple[np.ndarray, np.ndarray]:
    """Score each slice with a linear discriminant that has not seen its subject; larger means more like X.

    The discriminant treats the features as independent, because a few subjects do not show their correlations. Each
    fold leaves out some subjects of each pile; the slices of a pile with one subject are split into halves instead.
    """
    folds = min(5, *(max(2, len(set(domain.subjects))) for domain in (full, sub)))
    parts = [_parts(domain, folds) for domain in (full, sub)]
    scores = [np.zeros(len(domain.subjects)) for domain in (full, sub)]
    for fold in range(folds):
        train = [domain.features[part != fold] for domain, part in zip((full, sub), parts, strict=True)]
        everything = np.concatenate(train)
        centre, scale = everything.mean(0), everything.std(0) + 1e-9
        y, x = ((features - centre) / scale for features in train)
        direction = (x.mean(0) - y.mean(0)) / ((y.var(0) + x.var(0)) / 2 + RIDGE)
        middle = (x.mean(0) + y.mean(0)) / 2
        for place, domain in enumerate((full, sub)):
            left_out = parts[place] == fold
            scores[place][left_out] = ((domain.features[left_out] - centre) / scale - middle) @ direction
    return scores[0], scores[1]


def _parts(domain: Domain, folds: int) -> np.ndarray:
    names = list(dict.fromkeys(domain.subjects))
    if len(names) == 1:
        return (np.arange(len(domain.subjects)) * 2 // len(domain.subjects)).clip(0, folds - 1)
    return np.array([names.index(subject) % folds for subject in domain.subjects])


def auc_interval(scores: Sequence[np.ndarray], subjects: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the AUC; subjects are drawn with replacement, with all their slices."""
    random = numpy_random("domains")
    groups = [
        [values[np.array(names) == name] for name in dict.fromkeys(names)]
        for values, names in zip(scores, subjects, strict=True)
    ]
    drawn = []
    for _ in range(RESAMPLES):
        y, x = (np.concatenate([pile[i] for i in random.randint(len(pile), size=len(pile))]) for pile in groups)
        drawn.append(auc(y, x))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Auc:
    """How well slices can be told apart: 0.5 not at all, 1 always; with a 95 % interval over subjects.

    Of one subject there is no interval over subjects; see :attr:`Comparison.auc_text`.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """X minus Y in one feature, in standard deviations."""

    about: str
    what: str
    standardised: float


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two piles.

    Attributes
    ----------
    verdict
        ``differ``, ``alike`` or ``unknown``.
    sentence
        The verdict in plain words, with advice.
    auc
        How well slices of the two piles can be told apart.
    subjects, slices
        Their numbers, by pile (``full``, ``sub``).
    center_fraction
        Fraction of each side of k-space that was compared.
    masks
        A description of the masks of X.
    differences
        The difference in every feature that was compared.
    """

    verdict: str
    sentence: str
    auc: Auc
    subjects: dict[str, int]
    slices: dict[str, int]
    center_fraction: float
    masks: str
    differences: list[Difference]

    @property
    def auc_text(self) -> str:
        """The AUC in words, with its interval where both piles have several subjects."""
        if min(self.subjects.values()) < 2:
            return f"AUC {self.auc.value:.2f}, without an interval: there is one subject in a pile"
        return f"AUC {self.auc.value:.2f} [{self.auc.low:.2f}, {self.auc.high:.2f}]"

    @property
    def advice(self) -> list[str]:
        """The options of ``train`` that help against what differs."""
        if self.verdict != "differ":
            return []
        method, settings = _helpful(np.array([own.standardised for own in self.differences]))
        named = [] if method == "joint" else ["--method", method]
        return [*named, *(word for setting in settings for word in ("--set", setting))]


def compare_domains(
    full: Sequence[ScanInput],
    sub: Sequence[ScanInput],
    config: Config,
    show: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], None] = lambda full, sub: None,
) -> Comparison:
    """Compare the two piles and say in plain words whether and how they differ.

    Parameters
    ----------
    full, sub
        Paths of the piles, with disjoint subjects. See :func:`read_domains`.
    config
        Mask settings give the largest centre that is looked for.
    show
        Function that gets a few low-resolution magnitude images of each pile.

    Raises
    ------
    DataError
        If a file cannot be used, Y is undersampled, a subject is in both piles, a pile has fewer than four slices, or
        the centre of k-space is not fully measured.
    """
    y_files, x_files = find_scans(full), find_scans(sub)
    y, x, fraction = read_domains(y_files, x_files, config)
    known = np.isfinite(np.concatenate([y.features, x.features])).all(0)
    for domain in (y, x):  # a feature that is missing in some slice cannot be compared
        domain.features[:, ~known] = 0
    check_disjoint(y.paths, x.paths, "--full and --sub")
    for domain, what in ((y, "--full"), (x, "--sub")):
        if len(domain.subjects) < 4:
            raise DataError(f"{what}: {len(domain.subjects)} slices are too few for a comparison; expected at least 4")
    scores = cross_validated_scores(y, x)
    value = auc(*scores)
    low, high = auc_interval(scores, (y.subjects, x.subjects))
    spread = np.sqrt((y.features.var(0) + x.features.var(0)) / 2) + 1e-9
    effects = (x.features.mean(0) - y.features.mean(0)) / spread
    fewest = min(len(set(y.subjects)), len(set(x.subjects)))
    verdict = "unknown"
    if fewest > 1 and low > DIFFER:
        verdict = "differ"
    elif fewest >= ENOUGH and high < ALIKE:
        verdict = "alike"
    result = Comparison(
        verdict,
        _sentence(verdict, effects, fewest == 1),
        Auc(value, low, high),
        {"full": len(set(y.subjects)), "sub": len(set(x.subjects))},
        {"full": len(y.subjects), "sub": len(x.subjects)},
        fraction,
        _masks(x),
        [Difference(*about, float(effect)) for about, effect in zip(FEATURES, effects, strict=True)],
    )
    show(*(evenly(domain.examples, SHOWN) for domain in (y, x)))
    return result


def _masks(domain: Domain) -> str:
    mean = sum(domain.accelerations) / len(domain.accelerations)
    if mean < 1.01:
        return "the scans of --sub are fully sampled; they would be undersampled by the mask settings"
    return f"the scans of --sub have {'line' if domain.lines else 'point'} masks of acceleration {mean:.2f}"


def _sentence(verdict: str, effects: np.ndarray, few: bool) -> str:
    largest: dict[str, float] = {}
    for (about, _), effect in zip(FEATURES, effects, strict=True):
        largest[about] = max(largest.get(about, 0.0), abs(float(effect)))
    named = [about for about, size in sorted(largest.items(), key=lambda pair: -pair[1]) if size > LARGE]
    seen = f" What is seen differs in {', '.join(named)}." if named else ""
    if few:
        return f"One subject in a pile: a difference of the piles cannot be told from one of two people.{seen}"
    if verdict == "differ":
        return (
            f"The piles differ, in {', '.join(named) or 'a combination of small things'}: matching reconstructions of "
            f"X to Y would teach that difference; use {_advice(effects)}, not an adversarial method."
        )
    if verdict == "alike":
        return "No difference of the piles was found at low resolution: matching reconstructions of X to Y is allowed."
    return f"It cannot be told whether the piles differ: more subjects are needed. Prefer joint.{seen}"


def _advice(effects: np.ndarray) -> str:
    """Advise a method and settings against a different contrast, or more noise in X; measured in docs/results.md."""
    method, helpful = _helpful(effects)
    return f"{method} with {' and '.join(helpful)}" if helpful else method


def _helpful(effects: np.ndarray) -> tuple[str, list[str]]:
    large = [about for (about, _), effect in zip(FEATURES, effects, strict=True) if abs(effect) > LARGE]
    noisier = any(about == "noise" and effect > LARGE for (about, _), effect in zip(FEATURES, effects, strict=True))
    helpful = (["contrast=1"] if "contrast" in large else []) + (["calibrate=[noise]"] if noisier else [])
    return "joint-equivariant" if "contrast" in large else "joint", helpful
