"""The items of the CLAIM checklist (Mongan, Moy and Kahn 2020) in our words, and the text that fills each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from switchrecon.config import Config
from switchrecon.core.sentences import count
from switchrecon.metrics.conventions import Summary, explain
from switchrecon.metrics.statistics import OverFolds
from switchrecon.metrics.table import Column
from switchrecon.metrics.text import spread
from switchrecon.nets.builder import find_network
from switchrecon.runs.card import Card

EVERY_SLICE = "all slices that are not near empty"
YOURS = "**To be filled in by you.**"
PILES = {"full": "fully sampled", "sub": "undersampled"}


@dataclass(frozen=True)
class Facts:
    """The known facts: cards of the runs, values by method and metric, division of subjects, and test data."""

    cards: Sequence[Card]
    values: Mapping[str, Mapping[str, Summary | OverFolds]]
    columns: Sequence[Column]
    convention: str
    partition: str
    tested: str
    statistics: str | None


def _data(facts: Facts) -> str:
    lines = []
    for card in facts.cards:
        piles = [
            f"{count(of.slices, f'{PILES[pile]} slice')} of {count(of.subjects, 'subject')}"
            for pile, of in card.data.items()
        ]
        lines.append(f"{card.config.method}: {' and '.join(piles)}")
    return "; ".join(dict.fromkeys(lines)) + f". {YOURS} Name the data set, its licence and how it was acquired."


def _preprocessing(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        height, width = card.matrix
        return (
            f"resized in k-space to {height}x{width}; {config.representation} images, each slice divided by "
            f"{config.headroom:g} times the maximum of its low-resolution image (central "
            f"{card.center_fraction:g} of k-space); slices under {config.empty_below:g} of the mean magnitude of "
            f"their scan's brightest slice dropped; retrospective undersampling {config.mask.kind}, acceleration "
            f"{config.mask.acceleration:g}, centre fraction {config.mask.center_fraction:g}, one mask for each "
            f"{config.mask.per}"
        )

    text = f"{_grouped(facts, describe)}."
    if any(pile.synthetic for card in facts.cards for pile in card.data.values()):
        text += (
            " K-space was computed from magnitude images, so figures are optimistic for raw data (Shimron et al. 2022)."
        )
    return text


def _subsets(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        limits = [
            f"{count} {what}, evenly spread"
            for count, what in (
                (config.slices_per_scan, "slices of each scan"),
                (config.pile_slices, "slices of each pile"),
            )
            if count is not None
        ]
        return " and ".join(limits) or EVERY_SLICE

    return f"For training: {_grouped(facts, describe)}. For testing: {facts.tested}."


def _grouped(facts: Facts, describe: Callable[[Card, Config], str]) -> str:
    """Describe each run, with the names of its methods; only one description, without names, if all are equal."""
    said: dict[str, list[str]] = {}
    for card in facts.cards:
        said.setdefault(describe(card, card.config), []).append(card.config.method)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{', '.join(dict.fromkeys(methods))}: {text}" for text, methods in said.items())


def _model(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        sizes = ", ".join(f"{group} {count:,}" for group, count in card.parameters.items())
        return f"{config.channels}-channel images; {find_network(config).architecture(config)}; parameters: {sizes}"

    return _grouped(facts, describe) + ". All layers of the package are in the source of switchrecon."


def _software(facts: Facts) -> str:
    versions = [card.versions_text for card in facts.cards]
    return f"{'; '.join(dict.fromkeys([*versions, *(card.machine for card in facts.cards)]))}."


def _initial(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        return find_network(config).initial_weights(config)

    seeds = ", ".join(sorted({str(card.config.seed) for card in facts.cards}))
    return f"{_grouped(facts, describe)}; seed {seeds}."


def _training(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        return (
            f"{card.steps} steps, batch size {config.batch_size * card.processes}, "
            f"learning rate {config.learning_rate:g} falling linearly to {config.final_learning_rate:g}, "
            f"augmentation {config.augment}"
        )

    def adversarial(card: Card, config: Config) -> str:
        return (
            f"Lookahead ({config.lookahead_steps}, {config.lookahead_rate:g}) for discriminator and extractor, at most "
            f"{config.warm_up} steps towards the identity first"
        )

    return (
        f"{len(facts.cards)} trainings; {_grouped(facts, describe)}. RAdam; adversarial methods: "
        f"{_grouped(facts, adversarial)}. All settings are in config.yaml of each run."
    )


def _final(facts: Facts) -> str:
    def describe(card: Card, config: Config) -> str:
        return f"the average of the generator's weights over the steps from {config.average_from:.0%} of the run on"

    return f"No selection by results: {_grouped(facts, describe)}."


def _ensemble(facts: Facts) -> str:
    estimates = sorted({card.config.estimate for card in facts.cards})
    return f"Estimate: {', '.join(estimates)} (the ensemble is the mean of generator and extractor estimates)."


def _performance(facts: Facts) -> str | None:
    if not facts.values:
        return None
    lines = []
    for name, values in facts.values.items():
        known = [(column, values.get(column.name, Summary())) for column in facts.columns]
        lines.append(f"{name}: " + ", ".join(f"{c.header} {spread(v.mean, v.std, c.digits)}" for c, v in known))
    return "On the test partition: " + "; ".join(lines) + "."


def _metrics(facts: Facts) -> str:
    return f"{', '.join(c.title for c in facts.columns)}. {explain(facts.convention, facts.columns).rsplit(';', 1)[0]}."


Fill = Callable[[Facts], str | None]


def _says(text: str) -> Fill:
    return lambda facts: text


ITEMS: tuple[tuple[str, str, Fill | None], ...] = (
    ("Title, abstract", "Says that AI is used, and which kind", _says("Deep learning; the method is named below.")),
    ("Title, abstract", "Structured summary", None),
    (
        "Introduction",
        "Background, intended use and clinical role",
        _says(f"Research software, no clinical role. {YOURS}"),
    ),
    ("Introduction", "Aims and hypotheses", None),
    ("Design", "Prospective or retrospective", _says("Retrospective.")),
    ("Design", "Goal of the study", None),
    ("Data", "Sources", _data),
    ("Data", "Eligibility criteria", None),
    ("Data", "Preprocessing", _preprocessing),
    ("Data", "Selection of subsets", _subsets),
    ("Data", "Definitions of data elements", None),
    (
        "Data",
        "De-identification",
        _says(
            f"Results name no subject: runs store salted hashes, reports number the scans. {YOURS} How the scans were."
        ),
    ),
    ("Data", "Missing data", _says("Scans that cannot be read are refused by name; none is left out in silence.")),
    ("Reference standard", "Definition", _says("The image of the same slice's fully sampled k-space.")),
    (
        "Reference standard",
        "Why it was chosen",
        _says("Undersampling is retrospective, so the fully sampled image is known exactly."),
    ),
    ("Reference standard", "Annotators", _says("Not applicable: no annotations.")),
    ("Reference standard", "Annotation tools", _says("Not applicable: no annotations.")),
    ("Reference standard", "Variability of raters", _says("Not applicable: no raters.")),
    ("Partitions", "Sample size and its reason", None),
    ("Partitions", "How data were assigned", lambda facts: facts.partition),
    ("Partitions", "Level at which they are disjoint", _says("Subjects; a subject in two partitions is refused.")),
    ("Model", "Description", _model),
    ("Model", "Software", _software),
    ("Model", "Initial parameters", _initial),
    ("Training", "Approach and hyper-parameters", _training),
    ("Training", "Choice of the final model", _final),
    ("Training", "Ensembles", _ensemble),
    ("Evaluation", "Metrics", _metrics),
    ("Evaluation", "Statistical measures", lambda facts: facts.statistics),
    ("Evaluation", "Robustness", None),
    ("Evaluation", "Explainability", _says("Error maps and the error by spatial frequency are in the report.")),
    ("Evaluation", "External data", None),
    ("Results", "Flow of participants", None),
    ("Results", "Demographics", None),
    ("Results", "Performance", _performance),
    ("Results", "Diagnostic accuracy", _says("Not applicable: image quality was measured, no diagnosis.")),
    ("Results", "Failure analysis", None),
    ("Discussion", "Limitations", None),
    ("Discussion", "Implications for practice", _says(f"None are claimed by the software. {YOURS}")),
    ("Other", "Registration", None),
    ("Other", "Protocol", None),
    ("Other", "Funding", None),
)
"""Section, item in our words, and the function that fills it; None if only the authors can."""
