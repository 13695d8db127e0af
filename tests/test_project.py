"""What contributors read and what services read of the project says what is so."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import switchrecon
from switchrecon.core.yaml_text import load_yaml

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SERVICES = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"])


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tiers() -> list[list[str]]:
    """The contract's rooms that exist, tier by tier from the top."""
    [contract] = settings()["tool"]["importlinter"]["contracts"]
    here = {path.stem for path in (ROOT / "src" / "switchrecon").iterdir()}
    named = [re.findall(r"switchrecon\.(\w+)", layer) for layer in contract["layers"]]
    return [rooms for layer in named if (rooms := [room for room in layer if room in here])]


def test_the_guide_lists_the_rooms_of_the_contract_tier_by_tier() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", GUIDE, flags=re.MULTILINE)
    listed: dict[int, list[str]] = {}
    for tier, room in rows:
        listed.setdefault(int(tier), []).append(room)
    assert list(listed) == list(range(1, len(listed) + 1))
    assert list(listed.values()) == tiers()


def test_the_picture_of_the_rooms_leads_from_each_tier_to_the_next() -> None:
    picture = GUIDE.split("```mermaid\n")[1].split("```")[0]
    arrows = set()
    for line in picture.splitlines()[1:]:
        steps = [re.findall(r"\w+", step) for step in line.split("-->")]
        for uppers, lowers in pairwise(steps):
            arrows |= {(upper, lower) for upper in uppers for lower in lowers}
    expected = {(u, w) for uppers, lowers in pairwise(tiers()) for u in uppers for w in lowers}
    assert arrows == expected


def test_every_target_and_page_that_the_guide_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([\w-]+)", GUIDE)) | set(re.findall(r"^make (\w+)", GUIDE, flags=re.MULTILINE))
    assert {"setup", "test", "test-all"} <= named <= targets
    pages = [link for link in re.findall(r"\]\(([^)]+)\)", GUIDE) if not link.startswith("https:")]
    doors = {f"docs/how-to/{door}.md" for door in ("method", "network", "metric", "mask", "format")}
    assert doors <= set(pages)
    assert not [page for page in pages if page not in doors and not (ROOT / page).is_file()]


@pytest.mark.parametrize("file", SERVICES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_for_services_are_plain_yaml(file: Path) -> None:
    assert isinstance(load_yaml(file.read_text(encoding="utf-8")), dict)


def test_issue_forms_have_what_a_form_needs() -> None:
    forms = [file for file in SERVICES if file.parent.name == "ISSUE_TEMPLATE" and file.stem != "config"]
    assert len(forms) >= 2
    for file in forms:
        form = load_yaml(file.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert all(part["id"] and part["attributes"]["label"] for part in asked)
        assert len({part["id"] for part in asked}) == len(asked)


def test_the_workflow_does_what_ci_does_and_tests_folders_that_exist() -> None:
    jobs = load_yaml((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    commands = {name: "\n".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    assert all("runs-on" in job and "timeout-minutes" in job for job in jobs.values())
    assert ".ci/run" in commands["linux"]
    assert "make dist" in commands["package"]
    tests = re.findall(r"tests/[\w/.]+", commands["others"])
    assert tests
    assert not [path for path in tests if not (ROOT / path).exists()]
    checks = re.search(r"^check:.*\n((\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert checks is not None
    for line in checks[1].replace("$(BIN)/", "").split("\n"):
        assert line.strip() in commands["others"], line


def test_the_hooks_are_the_programs_of_the_environment() -> None:
    [repository] = load_yaml((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "lint-imports"}
    programs = " ".join(settings()["project"]["optional-dependencies"]["dev"])
    for hook in hooks.values():
        assert hook["language"] == "system"
        name = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert {"lint-imports": "import-linter"}.get(name, name) in programs


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = load_yaml((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == switchrecon.__version__
    assert citation["license"] == settings()["project"]["license"]


def test_the_files_that_are_changed_on_trial_and_their_tests_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from mutants import TESTS

    for file, tests in TESTS.items():
        assert (ROOT / "src" / "switchrecon" / file).is_file(), file
        assert all((ROOT / "tests" / name).exists() for name in tests), file
