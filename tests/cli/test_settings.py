"""``switchrecon settings``: all settings are there, fit a terminal, and say the truth."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from switchrecon.config import GROUPS, Config, load_config
from switchrecon.core.settings import Settings
from switchrecon.experiments.settings import Setting, all_settings
from switchrecon.methods.methods import METHODS
from switchrecon.methods.uses import USED_BY, methods_using

RunCli = Callable[..., tuple[int, str, str]]
SETTINGS = all_settings()


def test_the_list_holds_every_setting_once_and_fits_a_terminal(run_cli: RunCli) -> None:
    code, out, err = run_cli("settings")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    listed = re.findall(r"^  ([a-z_.]+) = ", out, re.MULTILINE)
    whole = [
        f"{name}.{inner}" if isinstance(value, Settings) else name
        for name, value in Config()
        for inner in (type(value).model_fields if isinstance(value, Settings) else [""])
    ]
    assert listed == whole
    for group in ("Data", "Networks", "Objectives", "Training", "Reconstruction and evaluation"):
        assert f"\n{group}\n" in out


def test_one_setting_is_shown_fully(run_cli: RunCli) -> None:
    code, out, _ = run_cli("settings", "kept_part")
    assert code == 0
    words = " ".join(out.split())
    for part in ("default: 0.6", "a number more than 0 and less than 1", "group: Objectives", "--set kept_part=0.6"):
        assert part in words
    assert "used by: self-supervised, joint, joint-equivariant, joint-adversarial example" in words
    assert run_cli("settings", "mask")[1].count("example:") == 5
    code, _, err = run_cli("settings", "mask.knd")
    assert (code, err) == (2, "error: unknown setting 'mask.knd'; did you mean 'mask.kind'?\n")


@pytest.mark.parametrize("own", SETTINGS, ids=lambda own: own.name)
def test_default_and_example_are_what_set_takes(own: Setting) -> None:
    assert own.reason.endswith(".")
    assert load_config(None, [f"{own.name}={own.default}"]).model_dump() == Config().model_dump()
    load_config(None, [f"{own.name}={own.example.strip(chr(39))}"])


def test_what_a_method_brings_instead_is_said(run_cli: RunCli) -> None:
    words = " ".join(run_cli("settings", "learning_rate")[1].split())
    assert "default: 0.0001" in words
    assert "0.003 for self-supervised, joint, joint-equivariant; 0.001 for joint-adversarial" in words
    assert "but:" not in run_cli("settings", "seed")[1]


def test_which_methods_use_a_setting() -> None:
    adversarial = ["cyclegan", "iscl", "iscl-sampling", "iscl-sampling-adain", "iscl-sampling-affine", "switchable"]
    assert methods_using("gate") == ["joint-adversarial"]
    assert methods_using("pairs") == ["supervised"]
    assert methods_using("code_size") == ["iscl-sampling-adain", "switchable"]
    assert methods_using("iterations") == ["total-variation", "wavelet", "sense"]
    assert methods_using("extractor_depth") == adversarial[1:]
    assert methods_using("adversarial") == [*adversarial, "joint-adversarial"]
    assert methods_using("warm_up") == adversarial
    assert methods_using("mask.kind") == list(METHODS)
    assert set(USED_BY) <= set(Config.model_fields)


def test_every_setting_belongs_to_one_group() -> None:
    grouped = [name for group in GROUPS for name in group.model_fields]
    assert grouped == list(Config.model_fields)


def test_the_page_of_methods_says_the_defaults() -> None:
    defaults = {own.name: own.default for own in SETTINGS}
    page = (Path(__file__).parents[2] / "docs/explanation/methods.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", page.split("## Settings")[1].split("## Limits")[0], re.MULTILINE)
    compared = 0
    for names, told in rows:
        for name, value in zip(re.findall(r"`([a-z_.]+)`", names), told.split(", "), strict=False):
            if re.fullmatch(r"`[a-z0-9-]+`|[0-9.]+", value):
                assert value.strip("`") == defaults[name], name
                compared += 1
    assert compared >= 10
