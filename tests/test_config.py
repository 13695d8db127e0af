"""Settings: defaults are the paper's, files and assignments are read, mistakes are named."""

from pathlib import Path

import pytest

from switchrecon.config import Config, load_config, parse_config
from switchrecon.errors import ConfigError


def test_the_defaults_are_the_papers_but_for_the_method() -> None:
    config = Config()
    assert config.method == "joint"
    assert (config.width, config.batch_size, config.learning_rate) == (32, 1, 1e-4)
    assert (config.estimate, config.data_consistency, config.adversarial) == ("generator", "none", "lsgan")
    assert (config.mask.kind, config.mask.acceleration, config.mask.center_fraction) == ("random-2d", 4, 0.08)
    assert (config.code_size, config.code_noise, config.code_renewed) == (64, 0.1, "epoch")


def test_file_then_assignments_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("matrix: 128\nseed: 3\nmask:\n  acceleration: 6\n")
    config = load_config(file, ["mask.kind=random-1d", "seed=4", "matrix=[64, 80]"], method="iscl")
    assert (config.matrix, config.seed, config.method) == ((64, 80), 4, "iscl")
    assert (config.mask.acceleration, config.mask.kind) == (6, "random-1d")
    assert load_config(file).matrix == (128, 128)


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load_config(None, ["matrix=96", "mask.per=volume", "epochs=3"])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("acelration=4", "unknown setting 'acelration'"),
        ("mask.acelration=4", r"unknown setting 'mask.acelration'; did you mean 'mask.acceleration'\?"),
        ("widht=4", r"did you mean 'width'\?"),
        ("width=four", "setting 'width' has a wrong value 'four'"),
        ("width=0", "greater than or equal to 1"),
        ("matrix=256x256", "setting 'matrix'.* has a wrong value '256x256': expected a side, or .height, width."),
        ("calibrate=noise", "setting 'calibrate' has a wrong value 'noise': expected a list, such as .noise."),
        ("width=true", "setting 'width' has a wrong value True: expected a number or a name"),
        ("learning_rate=.inf", "finite"),
        ("mask.kind=random", "setting 'mask.kind' has a wrong value 'random'"),
        ("matrix=[1,2,3]", "setting 'matrix"),
        ("seed.a=1", "unknown|wrong value"),
        ("width", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
    ],
)
def test_mistakes_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_config(None, [assignment])
    assert "\n" not in str(error.value)


def test_steps_and_epochs_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps and epochs are both set"):
        parse_config({"steps": 3, "epochs": 4})


def test_files_that_are_not_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "absent.yaml")
    for text, message in (
        ("- a\n- b\n", "expected settings as 'name: value', found list"),
        ("a: [", "not a readable YAML"),
        ("!!python/object/apply:os.system ['true']", "not a readable YAML"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert load_config(tmp_path / "empty.yaml") == Config()


def test_a_removed_setting_in_a_file_is_ignored_where_it_asks_for_what_is_done(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("width: 3\nsharing: exact\n")
    assert load_config(file) == Config(width=3)
    assert Config.model_validate({"sharing": "exact"}) == Config()
    file.write_text("sharing: stale\n")
    with pytest.raises(
        ConfigError, match=r"config\.yaml: setting 'sharing' was removed, and 'stale' is no longer poss"
    ):
        load_config(file)


def test_the_papers_settings_come_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_config(Path("paper"), ["epochs=3"])
    assert (found.method, found.representation, found.learning_rate, found.warm_up) == (
        "switchable",
        "magnitude",
        1e-4,
        0,
    )
    assert (found.schedule, found.average, found.optimizer, found.epochs) == ("linear", "swa", "radam", 3)
    monkeypatch.chdir(tmp_path)
    Path("paper").write_text("width: 5")  # a file of that name wins
    assert load_config(Path("paper")).width == 5
