"""The package as it is shipped: dependencies, licences of what it reads, and what it never calls."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import switchrecon

ROOT = Path(__file__).parents[1]
BREAK_TORCH = (
    "torchvision",
    "lpips",
    "piq",
    "deepinv",
    "mrpro",
    "timm",
    "torchmetrics",
    "lightning",
    "nvidia-",
    "triton",
)


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_few_runtime_dependencies_and_all_pinned() -> None:
    runtime = [re.split(r"[<>=~ ]", str(name))[0].lower() for name in project()["dependencies"]]  # type: ignore[attr-defined]
    assert len(runtime) <= 12
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = {line.split("==")[0].lower() for line in pins}
    assert all("==" in line and "+" not in line for line in pins)
    assert set(runtime) <= names
    assert not [name for name in names if name.startswith(BREAK_TORCH)]


def test_nothing_installed_beside_us_breaks_torch() -> None:
    listed = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    installed = [line.split()[0].lower() for line in listed.splitlines()[2:] if line]
    assert "switchrecon" in installed
    assert not [name for name in installed if name.startswith(BREAK_TORCH)]


EXECUTES = (
    r"(?<![\w.])(pickle|dill|joblib|marshal|shelve|torch\.load|torch\.jit|allow_pickle=True|os\.system|shell=True)\b"
)
CALLS = r"(?<![\w.])(eval|exec|compile|__import__)\(|yaml\.(load|full_load|unsafe_load|safe_load)\b|(?<![\w.])runpy\b"
EXCEPTIONS = {
    "lpips_weights.py": {"pickle", "torch.load"},  # of files with pinned hashes, tested in test_lpips.py
    "user_code.py": {"compile", "exec"},  # FILE.py:NAME, code of the user's
}


def test_nothing_that_can_execute_what_it_reads() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(), flags=re.DOTALL)
        found = {match.group().rstrip("(") for match in re.finditer(f"{EXECUTES}|{CALLS}", code)}
        assert found <= EXCEPTIONS.get(file.name, set()), file
    assert re.search(EXECUTES, "import pickle")
    assert re.search(CALLS, "x = eval(text)")
    assert re.search(CALLS, "yaml.safe_load(text)")


def test_no_file_is_too_long() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 400, file


def test_version_is_in_one_place() -> None:
    assert version("switchrecon") == switchrecon.__version__


def test_importing_the_package_does_not_load_torch() -> None:
    script = "import sys, switchrecon; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_help_does_not_load_torch() -> None:
    script = (
        "import sys; from switchrecon.cli.app import main\n"
        "sys.argv[1:] = sys.argv[1:] + ['--help']\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'numpy', 'onnx') if name in sys.modules], file=sys.stderr)"
    )
    for command in ([], ["train"], ["crossval"], ["export"]):
        arguments = [sys.executable, "-c", script, *command]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert "Usage" in done.stdout
        assert done.stderr.strip() == "[]"


def test_every_setting_on_the_page_of_methods_exists() -> None:
    from switchrecon.config import Config, MaskConfig

    names = {*Config.model_fields, *(f"mask.{name}" for name in MaskConfig.model_fields)}
    table = (ROOT / "docs/explanation/methods.md").read_text().split("## Settings")[1].split("## Limits")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    mentioned = [name for cell in first_cells for name in re.findall(r"`([a-z_.]+)`", cell)]
    assert mentioned
    assert set(mentioned) <= names
