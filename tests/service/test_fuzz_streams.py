"""Some hundred mutated streams; ``make fuzz`` takes 10,000."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz_streams.py"


def test_mutated_streams_end_in_complete_slices_or_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--streams", "300", "--seed", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.strip() == "300 mutated streams answered, 0 of them badly", done.stderr
    assert done.returncode == 0
