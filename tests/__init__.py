"""The test suite. ``SWITCHRECON_TEST_PROCESSOR=avx2`` runs it as on a processor that has AVX2 and nothing newer."""

import os
from pathlib import Path
from runpy import run_path

AVX2 = Path(__file__).parent / "avx2"


def as_on_avx2(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a Python process that computes with AVX2 alone, and is told that there is no more."""
    path = os.pathsep.join(filter(None, [str(AVX2), environment.get("PYTHONPATH")]))
    return environment | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": path}


if os.environ.get("SWITCHRECON_TEST_PROCESSOR") == "avx2":  # before this process imports torch
    os.environ.update(as_on_avx2(dict(os.environ)))
    run_path(str(AVX2 / "sitecustomize.py"))
