"""The report: complete, honest about its windows, self-contained, and safe against what its data say."""

import base64
import csv
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from switchrecon.errors import RunError
from switchrecon.reports import figures
from switchrecon.reports.evaluation import write_report
from switchrecon.reports.figures import comparison_columns, comparison_figure, display_windows, loss_figure

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
BANNER = "Research software, not a medical device. A network can invent or remove structure; do not use for diagnosis."
METHODS = ["zero-filled", "switchable", "switchable/ensemble", "simulated"]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, text, and the rows of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: dict[str, list[list[tuple[str, bool]]]] = {}
        self._table = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if tag == "table":
            self._table = values["id"] or ""
            self.rows[self._table] = []
        elif tag == "tr":
            self.rows[self._table].append([])
        elif tag in ("td", "th"):
            self.rows[self._table][-1].append(("", values.get("class") == "best"))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            text, best = self.rows[self._table][-1][-1]
            self.rows[self._table][-1][-1] = (text + data, best)

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def _page(folder: Path) -> tuple[Page, str]:
    file = write_report(folder)
    assert file == folder / "report.html"
    text = file.read_text(encoding="utf-8")
    return Page(text), text


def _facts(methods: list[str], examples: int) -> dict[str, Any]:
    steps = list(range(10, 310, 10))
    losses = {"step": steps, "cycle": [1 / s for s in steps], "signed": [None, *([-0.5, 0.5] * 15)][:30]}
    return {
        "title": "Brain at fourfold acceleration",
        "created": "2024-01-02T03:04:05+00:00",
        "summary": ["The network beats zero-filling."],
        "reduced": ["Half the steps."],
        "data": ["Random numbers."],
        "sampling": {
            "kind": "random-1d",
            "per": "slice",
            "acceleration": 4.0,
            "center_fraction": 0.08,
            "measured_acceleration": 3.871,
        },
        "matrix": [24, 32],
        "versions": {"switchrecon": "0.1.0"},
        "machine": "1 core",
        "runs": [
            {
                "name": "switchable",
                "config": {"method": "switchable", "mask": {"acceleration": 4.0}},
                "parameters": {"generator": 1234567},
                "steps": 300,
                "seconds": 3725.0,
                "losses": losses,
                "learning_rate": [1e-4] * len(steps),
            }
        ],
        "examples": [
            {"scan": f"scan-{k:03d}", "slice": 7 + k, "methods": {m: {"psnr": 30.0, "ssim": 0.9} for m in methods}}
            for k in range(examples)
        ],
        "example_methods": methods,
        "pictures": [{"file": "extra.png", "caption": "An extra picture"}],
    }


def _metrics(methods: list[str]) -> dict[str, Any]:
    values = {
        name: {
            "psnr": {"mean": 25.126 + 2 * place, "std": 1.504},
            "ssim": {"mean": 0.7004 + 0.02 * place, "std": 0.0312},
            "nmse": {"mean": 0.05012 - 0.01 * place, "std": 0.00212},
            "lpips": {"mean": 0.3 - 0.1 * place, "std": 0.01} if place == 1 else {"mean": None, "std": None},
        }
        for place, name in enumerate(methods)
    }
    text = "PSNR uses the maximum of each volume."
    methods_of = dict(reversed(values.items()))
    return {
        "convention": "volume",
        "convention_text": text,
        "volumes": 2,
        "subjects": 2,
        "slices": 6,
        "methods": methods_of,
        "conventions": {"volume": methods_of},
        "error_spectrum": {"frequency": [], "methods": {}},
    }


def _evaluation(folder: Path, methods: list[str] | None = None, examples: int = 2) -> Path:
    methods = methods or METHODS
    random = np.random.default_rng(0)
    shape = (examples, 24, 32)
    np.savez(
        folder / "examples.npz",
        reference=random.random(shape, dtype=np.float32),
        mask=random.random(shape) < 0.25,
        images=random.random((len(methods), *shape), dtype=np.float32),
    )
    with (folder / "metrics.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["method", "scan", "slice", "acceleration", "psnr", "ssim", "nmse"])
        rows.writerows([m, "scan-001", k, 4.0, 25 + k, 0.7 + k / 100, 0.05] for m in methods for k in range(6))
    (folder / "metrics.json").write_text(json.dumps(_metrics(methods)))
    (folder / "evaluation.json").write_text(json.dumps(_facts(methods, examples)))
    (folder / "extra.png").write_bytes(PNG)
    return folder


def _change(folder: Path, **facts: Any) -> None:
    file = folder / "evaluation.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def _run(folder: Path) -> Path:
    (folder / "config.yaml").write_text(f"method: switchable\nnote: '{SCRIPT}'\n")
    record = {"epoch": 0, "learning_rate": 1e-4}
    losses: dict[int, dict[str, float]] = {5: {"cycle": 0.2}, 10: {"cycle": 0.1, "late": 1.0}, 15: {"late": 0.5}}
    lines = [json.dumps(record | {"step": s, "seconds": 2.0 * s, "losses": values}) for s, values in losses.items()]
    (folder / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 20, "los')
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the drawings by a single pixel, for tests of everything around them."""
    for name in ("comparison_figure", "distribution_figure", "loss_figure"):
        monkeypatch.setattr(figures, name, lambda *values, **options: PNG)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    return _page(_evaluation(tmp_path_factory.mktemp("evaluation")))


def test_figures_appear_as_printed_with_zero_filled_first_and_the_best_marked(report: tuple[Page, str]) -> None:
    header, *rows = report[0].rows["metrics"]
    assert [text for text, _ in header] == ["Method", "PSNR / dB ↑", "SSIM ↑", "NMSE ↓", "LPIPS ↓", "HaarPSI ↑"]
    table = {row[0][0]: row[1:] for row in rows}
    assert rows[0][0][0] == "zero-filled"
    assert set(table) == set(METHODS)
    assert table["zero-filled"] == [
        ("25.13 ± 1.50", False), ("0.700 ± 0.031", False), ("0.0501 ± 0.0021", False), ("n/a", False), ("n/a", False),
    ]  # fmt: skip
    assert table["simulated"] == [
        ("best31.13 ± 1.50", True), ("best0.760 ± 0.031", True), ("best0.0201 ± 0.0021", True),
        ("n/a", False), ("n/a", False),
    ]  # fmt: skip
    assert [best for row in rows for _, best in row].count(True) == 4
    assert table["switchable"][3] == ("best0.200 ± 0.010", True)


@pytest.mark.usefixtures("undrawn")
def test_means_that_print_alike_are_marked_alike(tmp_path: Path) -> None:
    metrics = _metrics(METHODS)
    metrics["methods"]["switchable"]["psnr"]["mean"] = metrics["methods"]["simulated"]["psnr"]["mean"] + 1e-3
    (_evaluation(tmp_path) / "metrics.json").write_text(json.dumps(metrics))
    rows = _page(tmp_path)[0].rows["metrics"]
    assert {row[0][0] for row in rows if row[1][1]} == {"switchable", "simulated"}


def test_every_part_is_there(report: tuple[Page, str]) -> None:
    text = report[0].text
    for part in (
        BANNER,
        "Brain at fourfold acceleration",
        "Convention: volume. PSNR uses the maximum of each volume.",
        "The network beats zero-filling.",
        "Half the steps.",
        "Random numbers.",
        "scan-001, slice 8",
        "fraction of the reference's maximum",
        "4 asked for, 3.871 measured",
        "24 × 32",
        "acceleration: 4.0",
        "generator 1,234,567",
        "1 h 02 min",
        "An extra picture",
        "1 core",
    ):
        assert part in text


def test_pictures_are_inside_and_described(report: tuple[Page, str]) -> None:
    images = report[0].images()
    assert len(images) == 1 + 2 + 1 + 1 + 1  # the pair in short, examples, distribution, losses, extra
    for attributes in images:
        kind, data = (attributes["src"] or "").split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert attributes["alt"]


def test_nothing_is_requested_and_no_script_runs(report: tuple[Page, str]) -> None:
    page, text = report
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert re.fullmatch(r"#part-\d+", attributes.get("href") or "#part-1")  # places on the page alone
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


@pytest.mark.parametrize("hostile", [SCRIPT, IMAGE])
def test_hostile_text_stays_text(tmp_path: Path, hostile: str) -> None:
    methods = ["zero-filled", hostile, "$\\frac{1}$"]
    _evaluation(tmp_path, methods, examples=1)
    facts = _facts(methods, 1)
    facts["runs"][0] |= {"name": hostile, "config": {hostile: hostile}, "parameters": {hostile: 1}}
    facts["runs"][0]["losses"][hostile] = facts["runs"][0]["losses"]["cycle"]
    facts["examples"][0]["scan"] = hostile
    facts["pictures"][0]["caption"] = hostile
    facts["sampling"]["kind"] = hostile
    listed = {key: [hostile] for key in ("summary", "reduced", "data")}
    plain = dict.fromkeys(("title", "created", "machine"), hostile)
    _change(tmp_path, **facts | listed | plain | {"versions": {hostile: hostile}})
    metrics = _metrics(methods) | {"convention": hostile, "convention_text": hostile}
    metrics["methods"][hostile][hostile] = {"mean": 1.0, "std": None}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page, text = _page(tmp_path)
    assert not any(tag == "script" for tag, _ in page.tags)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert len(page.images()) == 5
    assert hostile not in text
    assert page.text.count(hostile) >= 15


def test_run_without_evaluation(tmp_path: Path) -> None:
    page, text = _page(_run(tmp_path))
    assert BANNER in page.text
    assert "Nothing has been evaluated yet" in page.text
    assert "<script" not in text
    assert SCRIPT in page.text
    assert len(page.images()) == 1
    assert [text for text, _ in page.rows["training"][1]] == ["switchable", "not known yet", "15", "0 min 30 s"]
    assert "metrics" not in page.rows


def test_run_that_has_just_begun(tmp_path: Path) -> None:
    (_run(tmp_path) / "log.jsonl").write_text("")
    page, _ = _page(tmp_path)
    assert "No losses were recorded." in page.text
    assert not page.images()


def test_empty_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=re.escape(str(tmp_path))) as caught:
        write_report(tmp_path)
    assert "evaluation.json" in str(caught.value)
    assert "log.jsonl" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation.json", b'{"title": '),
        ("evaluation.json", b'{"title": "no more"}'),
        ("evaluation.json", b"[]"),
        ("evaluation.json", b"[" * 200_000),
        ("evaluation.json", b"\xff\xfe"),
        ("metrics.json", b"{}"),
        ("metrics.json", b'{"convention": "slice", "convention_text": "", "methods": {"a": {"psnr": 3}}}'),
        ("metrics.json", None),
        ("metrics.csv", b"method,psnr,ssim\nunknown,1,1\n"),
        ("metrics.csv", b"method,psnr,ssim\nsimulated,many,1\n"),
        ("examples.npz", b"PK\x03\x04 and no more"),
        ("examples.npz", b""),
        ("examples.npz", None),
        ("extra.png", b"<svg/>"),
        ("extra.png", None),
    ],
)
def test_damaged_files_are_named_and_leave_the_old_report(tmp_path: Path, name: str, content: bytes | None) -> None:
    _evaluation(tmp_path, examples=1)
    (tmp_path / "report.html").write_text("the old one")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RunError, match=re.escape(str(tmp_path / name))):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "the old one"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [("log.jsonl", '{"step": 1}\n'), ("log.jsonl", "{\n"), ("config.yaml", "a: [\n"), ("config.yaml", "- a\n")],
)
def test_damaged_run_files_are_named(tmp_path: Path, name: str, content: str) -> None:
    (_run(tmp_path) / name).write_text(content)
    with pytest.raises(RunError, match=re.escape(str(tmp_path / name))):
        write_report(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_examples_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    _evaluation(tmp_path)
    _change(tmp_path, example_methods=METHODS[:3])
    with pytest.raises(RunError, match=r"examples\.npz"):
        write_report(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_pickled_examples_are_refused(tmp_path: Path) -> None:
    _evaluation(tmp_path)
    arrays: dict[str, Any] = {key: np.array([{}], dtype=object) for key in ("reference", "mask", "images")}
    np.savez(tmp_path / "examples.npz", **arrays)
    with pytest.raises(RunError, match=r"examples\.npz"):
        write_report(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_pictures_come_from_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(PNG)
    inside = tmp_path / "evaluation"
    inside.mkdir()
    _evaluation(inside, examples=1)
    _change(inside, pictures=[{"file": "../outside.png", "caption": ""}])
    with pytest.raises(RunError, match=re.escape(str(inside / "outside.png"))):
        write_report(inside)


@pytest.mark.usefixtures("undrawn")
def test_interrupted_writing_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (_run(tmp_path) / "report.html").write_text("the old one")
    before = sorted(tmp_path.iterdir())

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"report\.html"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "the old one"
    assert sorted(tmp_path.iterdir()) == before


def test_error_window_is_one_for_all_methods_and_a_fraction_of_the_maximum() -> None:
    reference = np.full((20, 25), 4.0, dtype=np.float32)
    images = np.stack([reference + 2, reference - 1, reference])
    assert display_windows(reference, images) == (4.0, 0.5)
    # A better method beside them changes nothing, and a common factor changes the images' window alone.
    assert display_windows(reference, np.concatenate([images, images[2:]])) == (4.0, 0.5)
    assert display_windows(3 * reference, 3 * images) == (12.0, 0.5)


def test_windows_are_positive_and_skip_values_that_are_not_finite() -> None:
    nothing = np.zeros((4, 4))
    assert display_windows(nothing, nothing[None]) == (1.0, 1.0)
    reference = np.array([[1.0, np.nan], [1.0, np.inf]])
    assert display_windows(reference, np.zeros((1, 2, 2))) == (1.0, 1.0)


def test_all_error_maps_are_drawn_in_that_window(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, float]] = []
    show = figures.picture_axes

    def record(axes: Any, picture: Any, colours: str, upper: float) -> Any:
        drawn.append((colours, upper))
        return show(axes, picture, colours, upper)

    monkeypatch.setattr(figures, "picture_axes", record)
    random = np.random.default_rng(1)
    reference, images = random.random((8, 8)), random.random((9, 8, 8))
    comparison_figure(reference, images, [f"m{k}" for k in range(9)], reference > 0.5, {})
    image_upper, error_upper = display_windows(reference, images)
    assert drawn.count(("inferno", error_upper)) == 9
    assert drawn.count(("gray", image_upper)) == 10
    assert drawn.count(("gray", 1.0)) == 1  # the mask


def test_comparison_keeps_pixels_whole() -> None:
    # A checkerboard at 256 px is black and white in equal parts, without a grey between.
    board = np.indices((256, 256)).sum(0) % 2 * 1.0
    png = comparison_figure(board, board[None], [" "], board > 2, {})
    width, height = (int.from_bytes(png[k : k + 4]) for k in (16, 20))
    assert png[24:26] == bytes([8, 3])  # 8 bits, palette
    blocks, position = b"", 8
    while position < len(png):
        length = int.from_bytes(png[position : position + 4])
        if png[position + 4 : position + 8] == b"IDAT":
            blocks += png[position + 8 : position + 8 + length]
        position += 12 + length
    lines = np.frombuffer(zlib.decompress(blocks), dtype=np.uint8).reshape(height, width + 1)
    if (lines[:, 0] == 0).all():  # rows without a filter hold the palette's indices
        assert set(np.unique(lines[40:290, 12:260])) == {0, 159}


def test_wide_comparisons_wrap() -> None:
    assert [comparison_columns(n) for n in (1, 2, 6, 7, 10, 13, 14)] == [2, 3, 7, 4, 6, 7, 5]


def test_figures_refuse_what_does_not_agree() -> None:
    image = np.zeros((4, 4))
    with pytest.raises(ValueError, match="do not agree"):
        comparison_figure(image, image[None], ["a", "b"], image > 0, {})
    with pytest.raises(ValueError, match="2 values for 3 steps"):
        loss_figure([1, 2, 3], {"cycle": [1.0, 2.0]})


def test_names_in_any_script_are_drawn() -> None:
    image = np.ones((4, 4))
    assert comparison_figure(image, image[None], ["磁共振"], image > 0, {}).startswith(b"\x89PNG")


@pytest.mark.usefixtures("undrawn")
def test_too_many_examples_are_counted_rather_than_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchrecon.reports.evaluation._PICTURE_BYTES", 1)
    page, _ = _page(_evaluation(tmp_path, examples=3))
    assert "2 more in examples.npz" in page.text
    assert len(page.images()) == 1 + 1 + 1 + 1 + 1
