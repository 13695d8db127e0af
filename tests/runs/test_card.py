"""The card of a run: cards of earlier versions open, what is damaged is refused by name, and no subject is named."""

import json
from typing import Any

import pytest
from safetensors import safe_open

from switchrecon.errors import ConfigError, RunError
from switchrecon.runs.card import Card, Gate, read_card, subject_hash
from switchrecon.runs.checkpoint import load_checkpoint, load_model, planned_steps, stored_card
from tests.conftest import tiny_config
from tests.stored.scans import FILES, RUNS


def stored(name: str) -> dict[str, Any]:
    """The card of a stored run, as an earlier version wrote it."""
    with safe_open(FILES / "runs" / name / "model.safetensors", framework="pt") as opened:
        found: dict[str, Any] = json.loads(opened.metadata()["switchrecon"])
    return found


@pytest.mark.parametrize("name", RUNS)
def test_cards_of_an_earlier_version_open_and_lose_nothing(name: str) -> None:
    before = stored(name)
    card = load_model(FILES / "runs" / name / "model.safetensors")[1]
    after = card.to_json()
    assert all(pile.pop("lines") is None for pile in after["data"].values())  # they did not say
    assert {key: after[key] for key in before if key != "config"} == {k: v for k, v in before.items() if k != "config"}
    assert not [
        key for key, value in after["config"].items() if key in before["config"] and value != before["config"][key]
    ]
    assert card.network_sha256 == ""
    assert card.finished
    assert read_card(after, "again") == card
    assert read_card(after | {"later": 1}, "of a later version") == card


def test_the_card_of_a_checkpoint_opens() -> None:
    run = FILES / "runs" / "switchable"
    found = load_checkpoint(run / "checkpoints")
    assert found is not None
    assert stored_card(found[1], run).salt == stored("switchable")["salt"]
    assert planned_steps(run) == 6
    assert planned_steps(FILES / "runs" / "joint") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": [64]}, "not a card of a run .matrix"),
        ({"matrix": "large"}, "not a card of a run .matrix"),
        ({"coils": 0}, "not a card of a run .coils"),
        ({"data": {"full": {"scans": 2}}}, "not a card of a run .data.full.subjects"),
        ({"config": None}, "no mapping of settings"),
    ],
)
def test_a_card_with_something_wrong_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises((RunError, ConfigError), match=message) as caught:
        read_card(stored("joint") | change, "run/model.safetensors")
    assert str(caught.value).startswith("run/model.safetensors: ")


def test_settings_of_another_version_are_named() -> None:
    card = stored("joint")
    with pytest.raises(ConfigError, match="unknown setting 'widht'; did you mean 'width'"):
        read_card(card | {"config": card["config"] | {"widht": 3}}, "run")
    del card["config"]
    with pytest.raises(RunError, match="not a card of a run"):
        read_card(card, "run")


def test_subjects_are_known_by_salted_hashes_that_an_evaluation_does_not_get() -> None:
    card = Card(
        config=tiny_config(),
        matrix=(64, 64),
        center_fraction=0.08,
        salt="s",
        subjects=(subject_hash("s", "one"), subject_hash("other", "two")),
    )
    assert card.knows("one")
    assert not card.knows("two")
    assert not {"salt", "subjects"} & card.public().keys()
    assert read_card(card.public(), "evaluation").config == card.config


def test_what_the_gate_decided_in_words() -> None:
    assert str(Gate(asked="auto", open=False)) == "gate closed: G(X) is not matched to Y"
    assert str(Gate(asked="open", open=True)) == "gate open: G(X) is matched to Y"
