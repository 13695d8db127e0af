"""Columns and values as text, and the records that hold them."""

import math

import pytest
from pydantic import ValidationError

from switchrecon.core.sentences import first_problem
from switchrecon.metrics.conventions import Summary, explain
from switchrecon.metrics.table import COLUMNS, METRICS, Column, columns_of
from switchrecon.metrics.text import interval, spread
from switchrecon.reports.records import Table


@pytest.mark.parametrize(
    ("mean", "std", "printed"),
    [
        (1.234, 0.056, "1.23 ± 0.06"),
        (1.234, None, "1.23"),  # one fold, or one scan
        (1.234, 0.0, "1.23"),  # as an earlier version stored one value
        (None, None, "n/a"),
        (-0.5, 0.001, "-0.50 ± 0.00"),  # spread, though little
    ],
)
def test_a_spread_is_told_where_there_is_one(mean: float | None, std: float | None, printed: str) -> None:
    assert spread(mean, std, 2) == printed


def test_an_interval_is_told_where_there_is_one() -> None:
    assert interval(1.0, -0.5, 2.5, 2, signed=True) == "+1.00 [-0.50, +2.50]"
    assert interval(1.0, None, None, 2) == "1.00"  # one subject
    assert interval(None, None, None, 2) == "n/a"


def test_a_column_prints_its_values_and_headers() -> None:
    psnr, lpips = (METRICS[name].column for name in ("psnr", "lpips"))
    assert (psnr.header, psnr.arrow, psnr.text(31.256), psnr.told(31.256)) == (
        "PSNR / dB",
        "PSNR / dB ↑",
        "31.26",
        "31.26 dB",
    )
    assert (lpips.arrow, lpips.told(0.25), lpips.text(0.25, signed=True)) == ("LPIPS ↓", "LPIPS 0.250", "+0.250")
    assert Column("a", "A").arrow == "A"


def test_columns_are_the_package_s_then_those_described_then_bare_names() -> None:
    mine = Column("mine", "Mine", "lower")
    assert columns_of(["old", "psnr", "mine"], [mine]) == (*COLUMNS, mine, Column("old", "OLD"))


def test_what_a_convention_means_names_every_metric() -> None:
    mine = Column("mine", "Mine", note="2 scales")
    fastmri, slices = (explain(name, (*COLUMNS, mine)) for name in ("fastmri", "slice-max"))
    assert "PSNR and NMSE of its evaluated slices together" in fastmri
    assert "LPIPS (AlexNet, v0.1), HaarPSI (C = 30, α = 4.2) and Mine (2 scales) their mean" in fastmri
    assert "and Mine (2 scales) of each slice" in slices
    assert fastmri.rsplit("; ", 1)[1] == "mean and standard deviation over volumes"
    one, two = Column("a", "A", pooled="volume"), Column("b", "B", note="v2")
    assert explain("fastmri", (one, two)) == (
        "fastMRI convention: central squares of the reference's width; data range is the maximum of the reference "
        "volume; A of its evaluated slices together, B (v2) their mean; mean and standard deviation over volumes"
    )
    assert explain("slice-max", (one, one, two)) == (
        "slice-maximum convention: data range is the maximum of each reference slice; A, A and B (v2) of each slice; "
        "mean and standard deviation over slices"
    )


def test_values_that_are_no_numbers_are_none() -> None:
    assert Summary(mean=math.nan, std=math.inf) == Summary(mean=None, std=None)


def test_a_table_with_one_setting_has_no_name_for_it_in_its_file() -> None:
    values = {"title": "T", "convention": "fastmri", "convention_text": "c", "folds": [0], "seeds": [0]}
    row = {"psnr": {"mean": 1.0}, "seeds": 2}
    one = Table.model_validate({**values, "methods": {"a": row}})
    assert one.only.methods["a"].value("psnr").mean == 1
    assert one.only.methods["a"].value("ssim").mean is None
    stored = one.model_dump(mode="json")
    assert "settings" not in stored
    assert stored["methods"]["a"]["psnr"]["mean"] == 1
    assert Table.model_validate(stored) == one
    two = Table.model_validate({**values, "settings": {"x4": {"methods": {"a": row}}, "x6": {}}})
    assert set(two.model_dump()["settings"]) == {"x4", "x6"}
    assert Table.model_validate_json(two.model_dump_json()) == two


def test_wrong_values_are_one_sentence() -> None:
    with pytest.raises(ValidationError) as caught:
        Summary.model_validate({"mean": "many"})
    assert first_problem(caught.value).startswith("mean: Input should be a valid number")
    assert first_problem(ValueError("two\n  lines")) == "two lines"
