"""Recipes, folds and the paper's numbers."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from switchrecon.data.piles import read_training_data
from switchrecon.errors import ConfigError, DataError
from switchrecon.experiments.folds import split_subjects
from switchrecon.experiments.grid import make_grid
from switchrecon.experiments.paper import FOOTNOTES, TABLE_1
from switchrecon.experiments.recipe import load_recipe, parse_recipe, recipe_names
from switchrecon.methods.methods import find_method
from tests.conftest import shared_file

SMALL = {"title": "t", "data": {"heads": 6}, "folds": 3, "methods": {"switchable": {}}}


@given(st.integers(3, 60), st.integers(2, 10))
def test_folds_test_everyone_once_and_share_nobody(count: int, folds: int) -> None:
    subjects = list(range(count))
    if count < folds or count - -(-count // folds) < 2:
        with pytest.raises(ValueError, match="too few"):
            split_subjects(subjects, folds)
        return
    made = split_subjects(subjects, folds)
    assert sorted(s for fold in made for s in fold.test) == subjects
    for fold in made:
        assert sorted([*fold.full, *fold.sub, *fold.test]) == subjects
        assert 0 <= len(fold.sub) - len(fold.full) <= 1


def test_every_recipe_of_the_package_is_sound() -> None:
    assert recipe_names() == ["fastmri-x4", "ixi-x4", "ixi-x6", "quick"]
    for name in recipe_names():
        recipe = load_recipe(name)
        for setting in recipe.settings:
            for row in recipe.methods:
                find_method(recipe.config(setting, row, 0))
    x6 = load_recipe("ixi-x6").config("default", "switchable", 0)
    assert (x6.mask.acceleration, x6.mask.center_fraction, x6.matrix, x6.epochs) == (6, 0.06, (256, 256), 50)
    knee = load_recipe("fastmri-x4")
    assert [knee.config(s, "iscl", 0).mask.center_fraction for s in knee.settings] == [0.08, 0.008]


def test_ixi_recipe_gives_the_papers_numbers_of_images(tmp_path: Path) -> None:
    volume = np.ones((4, 4, 3), dtype=np.int16) * np.array([1, 5, 2], dtype=np.int16)
    image = nibabel.Nifti1Image(volume, np.eye(4))
    for number in range(210):
        nibabel.save(image, tmp_path / f"IXI{number:03d}-Guys-{number:04d}-T2.nii.gz")
        if number < 3:
            nibabel.save(image, tmp_path / f"IXI{number:03d}-Guys-{number:04d}-T1.nii.gz")
    grid = make_grid(load_recipe("ixi-x4"), tmp_path, tmp_path / "out")
    assert grid.subjects == 200
    assert len(grid.cells) == 4 * 8
    cell = grid.cells[0]
    assert (len(cell.full), len(cell.sub), len(cell.test)) == (75, 75, 50)
    assert not {p.name[:6] for p in cell.full} & {p.name[:6] for p in cell.sub}
    config = cell.config.model_copy(update={"matrix": (8, 8)})
    data = read_training_data(cell.full, cell.sub, config, "unpaired")
    assert data.sub is not None
    assert (len(data.full.slices), len(data.sub.slices)) == (75, 75)
    assert {s.index for s in data.full.slices} == {1}  # the middle slice
    assert len(read_training_data(cell.full, cell.sub, config, "paired").full.slices) == 150


def test_settings_are_laid_over_each_other() -> None:
    recipe = parse_recipe(
        {
            **SMALL,
            "common": {"mask": {"kind": "random-1d", "acceleration": 4}, "steps": 10},
            "settings": {"x6": {"mask.acceleration": 6}, "x4": {}},
            "methods": {"switchable": {}, "hinge": {"method": "switchable", "adversarial": "hinge"}},
        },
        "r",
    )
    config = recipe.config("x6", "hinge", 7)
    assert (config.method, config.adversarial, config.seed) == ("switchable", "hinge", 7)
    assert (config.mask.kind, config.mask.acceleration) == ("random-1d", 6)
    assert recipe.config("x4", "switchable", 0).mask.acceleration == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 3}, "unknown setting 'fold'; did you mean 'folds'"),
        ({"data": {"heads": 6, "files": ["a"]}}, "either files or heads"),
        ({"data": {"file": ["a"]}}, "unknown setting 'data.file'; did you mean 'data.files'"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"run_folds": [3]}, "folds are counted from 0 to 2"),
        ({"run_folds": [1, 1]}, "give each number once"),
        ({"seeds": [0, 1, 0]}, "give each number once"),
        ({"methods": {}}, "at least one entry"),
        ({"methods": {"../x": {}}}, "pattern"),
        ({"methods": {"switchable": {"widht": 3}}}, "setting default, method switchable: unknown setting 'widht'"),
        ({"common": {"mask.acceleration": 0}}, "greater than or equal to 1"),
        ({"common": {"mask": "x", "mask.acceleration": 4}}, "has settings inside in another"),
        ({"methods": {"iscl": {}, "joint": {"mask.acceleration": 8}}}, "rows iscl and joint differ in mask"),
    ],
)
def test_wrong_recipes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe({**SMALL, **change}, "mine.yaml")


def test_a_methods_own_settings_stand_over_the_common_ones() -> None:
    plan = {**SMALL, "common": {"epochs": 5, "representation": "complex"}}
    plan["methods"] = {"iscl": {}, "total-variation": {}, "joint": {"epochs": 3}, "wavelet": {"steps": 7}}
    recipe = parse_recipe(plan, "r")
    lengths = {
        row: (recipe.config("default", row, 0).steps, recipe.config("default", row, 0).epochs)
        for row in plan["methods"]
    }
    assert lengths == {"iscl": (None, 5), "total-variation": (100, None), "joint": (None, 3), "wavelet": (7, None)}
    assert recipe.config("default", "joint", 0).network == "unrolled"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'ixi-x4'"):
        load_recipe("ixi_x4")
    for text, message in (("- 1", "found list"), ("a: [", "not a readable YAML")):
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_recipe(str(tmp_path / "r.yaml"))
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**SMALL, "data": {"files": ["*.h5", "x/*.h5"]}}))
    with pytest.raises(DataError, match=r"no file matches the recipe's patterns \*.h5, x/\*.h5"):
        make_grid(load_recipe(str(tmp_path / "r.yaml")), tmp_path, tmp_path / "out")
    few = parse_recipe({**SMALL, "data": {"heads": 3, "head_slices": 1}, "folds": 2}, "r")
    with pytest.raises(ConfigError, match="3 subjects are too few for 2 folds"):
        make_grid(few, tmp_path, tmp_path / "out")


def test_the_papers_numbers_stand_in_the_paper() -> None:
    text = shared_file("paper.txt").read_text()
    for experiment, rows in TABLE_1.items():
        assert list(rows) == ["zero-filled", "cyclegan", "iscl", "iscl-sampling", "switchable", "supervised"]
        for values in rows.values():
            assert " ".join(f"{value:.4f}" for value in values) in text
        assert FOOTNOTES[experiment]


def test_a_domain_gap_takes_y_from_the_other_domain_and_pairs_from_the_tests_own(tmp_path: Path) -> None:
    for subject in "abcd":
        np.save(tmp_path / f"x-{subject}.npy", np.ones((2, 8, 8)))
    image = nibabel.Nifti1Image(np.ones((8, 8, 2), dtype=np.int16), np.eye(4))
    for subject in ("a", "b", "c", "extra"):
        nibabel.save(image, tmp_path / f"sub-{subject}_T1w.nii.gz")
        if subject != "extra":
            nibabel.save(image, tmp_path / f"sub-{subject}_T2w.nii.gz")
    recipe = {
        **SMALL,
        "data": {"files": ["*_T2w.nii.gz"], "full_files": ["*_T1w.nii.gz"]},
        "folds": 3,
        "methods": {"simulated": {}, "supervised": {}},
        "gap": {"lower": "simulated", "upper": "supervised"},
    }
    cells = {(c.row, c.fold): c for c in make_grid(parse_recipe(recipe, "r"), tmp_path, tmp_path / "out").cells}
    for fold in range(3):
        unpaired, paired = cells["simulated", fold], cells["supervised", fold]
        names = [{p.name.split("_")[0] for p in getattr(unpaired, role)} for role in ("full", "sub", "test")]
        assert "sub-extra" in names[0]  # who is in the other domain alone is nobody's test
        assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
        assert {p.name.split("_")[1] for p in unpaired.full} == {"T1w.nii.gz"}
        assert {p.name.split("_")[1] for p in (*unpaired.sub, *unpaired.test, *paired.full)} == {"T2w.nii.gz"}
        assert (paired.sub, paired.test) == (unpaired.sub, unpaired.test)
    with pytest.raises(ConfigError, match="gap names 'joint'"):
        parse_recipe({**recipe, "gap": {"lower": "joint", "upper": "supervised"}}, "r")
    with pytest.raises(ConfigError, match="full_files goes with files"):
        parse_recipe({**recipe, "data": {"heads": 6, "full_files": ["a"]}}, "r")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "benchmarks" / "recipes").glob("*.yaml")))
def test_recipes_of_the_documented_results_are_sound(file: Path) -> None:
    assert load_recipe(str(file)).methods
