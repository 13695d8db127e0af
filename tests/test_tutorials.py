"""The tutorials run as they stand, offline, and say what their text promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import DOCS

ROOT = DOCS.parent
SAID = {
    "nifti": r"'synthetic': True\}\n.*zero-filled +\d+\.\d+ dB.*\njoint +\d+\.\d+ dB.*\n\(4, 64, 64\) complex64\n",
    "fastmri": r"'coils': 1, .*\{'zero-filled': \d.*'joint': \d.*samples are kept to \de-0[5-9] of the largest\n",
    "multicoil": r"'slices': 2, 'coils': 4.*\(\[2, 4, 64, 64\]\) torch.*CG-SENSE +SSIM 0\..*joint +SSIM 0\.",
    "your-own": r"objectives: simulated_pairs, held_out_samples, background\n.*CAREFUL.* dB, worst pixel 0\.",
    "cluster": r"#SBATCH.*switchrecon crossval.*rows with the columns convention, setting, method,.*\| joint",
}
"""What each tutorial prints, in this order."""
LEFT = {
    "nifti": "tutorial-nifti/evaluation/metrics.json",
    "fastmri": "tutorial-fastmri/invented.png",
    "multicoil": "tutorial-multicoil/subject5.cfl",
    "your-own": "tutorial-your-own/run/network.py",
    "cluster": "tutorial-cluster/grid/report.html",
}
"""A file that each leaves in its folder."""


@pytest.mark.parametrize("name", sorted(path.stem for path in (DOCS / "tutorials").glob("*.py")))
def test_a_tutorial_runs(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    script = DOCS / "tutorials" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SAID[name], done.stdout, flags=re.DOTALL), done.stdout
    assert (tmp_path / LEFT[name]).stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {f"tutorial-{name}"}
