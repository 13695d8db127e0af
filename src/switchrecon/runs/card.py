"""The card of a run: what its model file says beside the weights, typed."""

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

PRIVATE = {"salt", "subjects"}  # what an evaluation does not repeat


class _Record(BaseModel):
    """Base of the records: immutable; what a later version adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PileFacts(_Record):
    """What a run learned from in one pile: counts, the mean acceleration, and the SHA-256 of each file."""

    scans: int
    subjects: int
    slices: int
    dropped: int
    synthetic: int
    retrospective: int
    acceleration: float
    sha256: tuple[str, ...] = ()


class Gate(_Record):
    """Whether G(X) was matched to Y, and why.

    Attributes
    ----------
    asked
        The setting.
    open
        What was decided.
    verdict, sentence, auc
        What comparing the piles found, where it was asked.
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
    """How a finished run did on draws that it was not trained with, beside zero filling.

    Attributes
    ----------
    pairs
        Error on pairs simulated from Y over that of zero filling; None without Y.
    held_out
        The same of samples of X that were held out; None where the method does not learn from such samples.
    """

    pairs: float | None = None
    held_out: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the run is worse than zero filling somewhere, or no number at all."""
        return any(ratio is not None and not ratio <= 1 for ratio in (self.pairs, self.held_out))

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        places = {"pairs simulated from Y": self.pairs, "held-out samples of X": self.held_out}
        found = [f"{ratio:.2f} times on {place}" for place, ratio in places.items() if ratio is not None]
        if not found:
            return "the run was not tried: nothing to compare it with"
        verdict = "is worse than" if self.failed else "was compared with"
        advice = "; train longer, or look at the losses" if self.failed else ""
        return f"the run {verdict} zero filling: its error is {' and '.join(found)} that of zero filling{advice}"


class Identity(_Record):
    """What must not change under a run: hashes of its scans and of the user's files that it runs; empty for none."""

    fingerprint: str = ""
    method_sha256: str = ""
    network_sha256: str = ""


class Card(Identity):
    """All that reconstruction and reports need to know of a run, without any subject's name.

    Attributes
    ----------
    config
        The run's settings.
    matrix
        H and W that it was trained at.
    center_fraction
        Part of each side of k-space that scaled its images.
    coils
        Of its scans, at most.
    adaptive, extractor
        Whether the generator has AdaIN sites, and whether there is an H.
    pairing
        The method's.
    step, steps
        Steps done, and in all.
    seconds
        Of training; None before the first checkpoint.
    parameters
        Their number in each group of networks.
    data
        ``full`` and ``sub``: what each pile held.
    gate
        What the gate of a method that has one decided.
    trial
        How the finished run did beside zero filling; None before the end, and of runs of earlier versions.
    salt, subjects
        Salted hashes of the subjects, so that an evaluation can refuse one that was trained on.
    versions, machine
        What it was trained with and on.
    weights_sha256
        Of the weights beside the card.
    """

    config: Config
    matrix: tuple[int, int]
    center_fraction: float
    coils: int = Field(1, ge=1)
    adaptive: bool = False
    extractor: bool = False
    pairing: Pairing = "unpaired"
    step: int = 0
    steps: int = 0
    seconds: float | None = None
    parameters: dict[str, int] = {}
    data: dict[str, PileFacts] = {}
    gate: Gate | None = None
    trial: Trial | None = None
    salt: str = ""
    subjects: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    machine: str = ""
    weights_sha256: str = ""

    @property
    def finished(self) -> bool:
        """Whether training has come to its end."""
        return self.step == self.steps

    @property
    def versions_text(self) -> str:
        """What it was trained with, in one line."""
        return ", ".join(f"{name} {number}" for name, number in self.versions.items())

    def knows(self, subject: str) -> bool:
        """Return whether the run was trained on this subject."""
        return subject_hash(self.salt, subject) in self.subjects

    def to_json(self) -> dict[str, Any]:
        """Return what JSON holds; :func:`read_card` is the inverse."""
        return self.model_dump(mode="json")

    def public(self) -> dict[str, Any]:
        """Return what an evaluation stores of it: all but the salt and the subjects' hashes."""
        return self.model_dump(mode="json", exclude=PRIVATE)


def read_card(values: Mapping[str, Any], source: str) -> Card:
    """Check a card that was read from a file.

    Parameters
    ----------
    values
        What :meth:`Card.to_json` or :meth:`Card.public` gave, in this version or an earlier one.
    source
        Named in errors.

    Raises
    ------
    RunError
        If something is missing or has another type.
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
    """Check a card given as JSON text; see :func:`read_card`."""
    return read_card(json.loads(text), source)


def make_card(
    config: Config, method: Method, players: Players, steps: int, data: TrainingData, gate: Gate | None = None
) -> Card:
    """Return the card of a run that begins, with a new salt."""
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
        steps=steps,
        parameters={n: sum(p.numel() for p in m.parameters()) for n, m in players.groups().items()},
        data={name: _pile_facts(pile) for name, pile in data.piles.items()},
        gate=gate,
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
        sha256=tuple(sorted(pile.digests)),
    )


def identity(config: Config, data: TrainingData) -> Identity:
    """Return what must not change under a run that is made from these settings and scans."""
    return Identity(
        fingerprint=data.fingerprint(),
        method_sha256=method_source(config),
        network_sha256=network_source(config),
    )


def subject_hash(salt: str, subject: str) -> str:
    """Salted SHA-256 of a subject's name, 16 hexadecimal digits."""
    return hashlib.sha256(f"{salt}:{subject}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
