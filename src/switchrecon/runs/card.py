"""The card of a run: typed facts that its model file holds beside the weights."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchrecon.config import Config, Pairing, parse_config
from switchrecon.core.sentences import first_problem
from switchrecon.data.piles import Pile, TrainingData
from switchrecon.errors import RunError
from switchrecon.methods.methods import Method
from switchrecon.methods.players import Players
from switchrecon.runs.environment import machine, versions
from switchrecon.runs.sources import method_source, network_source

PRIVATE = {"salt", "subjects", "before"}  # fields that an evaluation does not repeat


class _Record(BaseModel):
    """Base class of the records: they cannot be changed, and fields that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PileFacts(_Record):
    """What a run learned from in one pile: counts, the mean acceleration, and the SHA-256 of each file.

    ``lines`` says whether masks measured whole lines; None in cards of earlier versions.
    """

    scans: int
    subjects: int
    slices: int
    dropped: int
    synthetic: int
    retrospective: int
    acceleration: float
    lines: bool | None = None
    sha256: tuple[str, ...] = ()


class Gate(_Record):
    """The decision whether a method may make G(X) look like Y, and its reasons.

    Attributes
    ----------
    asked
        The setting ``gate``.
    open
        The decision.
    verdict, sentence, auc
        The result of comparing the piles, if they were compared.
    """

    asked: Literal["auto", "open", "closed"]
    open: bool
    verdict: str | None = None
    sentence: str | None = None
    auc: dict[str, float] | None = None

    def __str__(self) -> str:
        state, negation = ("open", "") if self.open else ("closed", "not ")
        return f"gate {state}: G(X) is {negation}matched to Y"


class Trial(_Record):
    """How well a finished run does, compared with zero filling, on random draws that it was not trained with.

    Attributes
    ----------
    pairs
        Error on pairs simulated from Y, divided by that of zero filling; None without Y.
    held_out
        The same for held-out samples of X; None if the method does not learn from such samples.
    """

    pairs: float | None = None
    held_out: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the run is worse than zero filling in one of the two, or an error is not a finite number."""
        return any(ratio is not None and not ratio <= 1 for ratio in (self.pairs, self.held_out))

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        places = {"pairs simulated from Y": self.pairs, "held-out samples of X": self.held_out}
        found = [f"{ratio:.2f} times on {place}" for place, ratio in places.items() if ratio is not None]
        if not found:
            return "the run was not tried: nothing to compare it with"
        verdict = "is worse than" if self.failed else "was compared with"
        advice = "; train longer, or look at the losses" if self.failed else ""
        return f"the run {verdict} zero filling: its error is {' and '.join(found)} that of zero filling{advice}"


class Known(_Record):
    """Subjects that a run has learned from: salted hashes, and their salt."""

    salt: str = ""
    subjects: tuple[str, ...] = ()

    def knows(self, subject: str) -> bool:
        """Return whether this subject is among them."""
        return subject_hash(self.salt, subject) in self.subjects


class Identity(_Record):
    """Hashes that must not change while a run goes on: of its scans, and of users' files that it runs (or empty)."""

    fingerprint: str = ""
    method_sha256: str = ""
    network_sha256: str = ""


class Card(Known, Identity):
    """All facts about a run that reconstruction and reports need, without names of subjects.

    Attributes
    ----------
    config
        The run's settings.
    matrix
        H and W of the training images.
    center_fraction
        Fraction of each side of k-space whose centre was used to scale images.
    coils
        Largest number of coils of its scans.
    adaptive, extractor
        Whether the generator has AdaIN sites, and whether there is an extractor H.
    pairing
        The pairing of the method.
    processes
        How many processes began the run together: a step has ``batch_size`` samples for each of them.
    step, steps
        Steps done, and steps planned.
    seconds
        Time of training; None before the first checkpoint.
    parameters
        Number of parameters of each group of networks.
    data
        Facts about the piles ``full`` and ``sub``.
    gate
        Decision of the gate, for methods that have one.
    trial
        Comparison of the finished run with zero filling; None before the end, and in runs of earlier versions.
    salt, subjects
        Salted hashes of the subjects, so that an evaluation can refuse a subject of the training.
    before
        Subjects of the runs whose weights this run began from.
    versions, machine
        Versions of the software, and the machine.
    began_from
        ``weights_sha256`` of the run whose weights were the first ones; empty where they were drawn.
    note
        For a run that is given away: whose scans it has learned from, and who may use it; else empty.
    weights_sha256
        SHA-256 of the weights beside the card.
    """

    config: Config
    matrix: tuple[int, int]
    center_fraction: float
    coils: int = Field(1, ge=1)
    adaptive: bool = False
    extractor: bool = False
    pairing: Pairing = "unpaired"
    processes: int = Field(1, ge=1)
    step: int = 0
    steps: int = 0
    seconds: float | None = None
    parameters: dict[str, int] = {}
    data: dict[str, PileFacts] = {}
    gate: Gate | None = None
    trial: Trial | None = None
    before: tuple[Known, ...] = ()
    versions: dict[str, str] = {}
    machine: str = ""
    began_from: str = ""
    note: str = ""
    weights_sha256: str = ""

    @property
    def finished(self) -> bool:
        """Whether the training is complete."""
        return self.step == self.steps

    @property
    def versions_text(self) -> str:
        """Versions of the software that it was trained with, in one line."""
        return ", ".join(f"{name} {number}" for name, number in self.versions.items())

    def knows(self, subject: str) -> bool:
        """Return whether the run, or one that it began from, was trained on this subject."""
        return super().knows(subject) or any(known.knows(subject) for known in self.before)

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values for JSON; :func:`read_card` is the inverse."""
        return self.model_dump(mode="json")

    def public(self) -> dict[str, Any]:
        """Return the part of the card that an evaluation stores: all but the salt and the subjects' hashes."""
        return self.model_dump(mode="json", exclude=PRIVATE)


def read_card(values: Mapping[str, Any], source: str) -> Card:
    """Check a card that was read from a file.

    Parameters
    ----------
    values
        Values from :meth:`Card.to_json` or :meth:`Card.public`, of this version or an earlier one.
    source
        Name for error messages, such as the file.

    Raises
    ------
    RunError
        If a field is missing or has the wrong type.
    ConfigError
        If its settings are not valid.
    """
    try:
        settings = values["config"]
        if not isinstance(settings, dict):
            raise TypeError("its config is no mapping of settings")
        return Card.model_validate({**values, "config": parse_config(settings, source)})
    except ValidationError as error:
        raise RunError(f"{source}: not a card of a run ({first_problem(error)})") from error
    except (LookupError, TypeError) as error:
        raise RunError(f"{source}: not a card of a run ({error})") from error


def card_from_text(text: str, source: str) -> Card:
    """Read and check a card from JSON text; see :func:`read_card`."""
    return read_card(json.loads(text), source)


def make_card(
    config: Config,
    method: Method,
    players: Players,
    steps: int,
    data: TrainingData,
    gate: Gate | None = None,
    began_from: "Card | None" = None,
    processes: int = 1,
) -> Card:
    """Return the card of a run that starts now, with a new salt."""
    salt = os.urandom(16).hex()
    return Card(
        **identity(config, data).model_dump(),
        config=config,
        matrix=data.matrix,
        center_fraction=data.centre_fraction(config),
        coils=data.coils,
        adaptive=bool(players.generator.adaptive),
        extractor=players.extractor is not None,
        pairing=method.pairing,
        processes=processes,
        steps=steps,
        parameters={n: sum(p.numel() for p in m.parameters()) for n, m in players.groups().items()},
        data={name: _pile_facts(pile) for name, pile in data.piles.items()},
        gate=gate,
        began_from=began_from.weights_sha256 if began_from else "",
        before=(*began_from.before, Known(salt=began_from.salt, subjects=began_from.subjects)) if began_from else (),
        salt=salt,
        subjects=tuple(sorted({subject_hash(salt, s) for pile in data.piles.values() for s in pile.subjects})),
        versions=versions(),
        machine=machine(next(players.parameters()).device),
    )


def _pile_facts(pile: Pile) -> PileFacts:
    return PileFacts(
        scans=pile.scans,
        subjects=len(pile.subjects),
        slices=len(pile.slices),
        dropped=pile.dropped,
        synthetic=pile.synthetic,
        retrospective=pile.retrospective,
        acceleration=round(pile.acceleration(), 3),
        lines=pile.has_lines,
        sha256=tuple(sorted(pile.digests)),
    )


def identity(config: Config, data: TrainingData) -> Identity:
    """Return the hashes that must not change while a run with these settings and scans goes on."""
    return Identity(
        fingerprint=data.fingerprint(),
        method_sha256=method_source(config),
        network_sha256=network_source(config),
    )


def subject_hash(salt: str, subject: str) -> str:
    """Return 16 hexadecimal digits of the salted SHA-256 of a subject's name."""
    return hashlib.sha256(f"{salt}:{subject}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
