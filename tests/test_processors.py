"""The suite does not depend on the processor: ``SWITCHRECON_TEST_PROCESSOR=avx2`` runs it as on one with AVX2 alone."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests import as_on_avx2

SHOW = """
import json, torch
from switchrecon.core.device import emulates_bfloat16, processor_has
print(json.dumps([processor_has("avx512_f"), emulates_bfloat16(), torch.backends.cpu.get_cpu_capability()]))
"""


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx2"), reason="this processor has no AVX2")
def test_a_process_as_on_avx2_computes_with_it_and_knows_no_other() -> None:
    environment = as_on_avx2(dict(os.environ))
    done = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True, "AVX2"]
