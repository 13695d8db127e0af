"""Make torch say that this processor has AVX2 and nothing newer. Every Python with this folder in PYTHONPATH reads it.

Torch need not be imported for it: its answer is replaced when its module has run.
"""

from importlib.machinery import SourceFileLoader
from types import ModuleType

_run = SourceFileLoader.exec_module


def _run_and_replace(self: SourceFileLoader, module: ModuleType) -> None:
    _run(self, module)
    if module.__name__ == "torch.cpu":
        module.get_capabilities = lambda: {"architecture": "x86_64", "avx2": True}  # type: ignore[attr-defined]


SourceFileLoader.exec_module = _run_and_replace  # type: ignore[method-assign]
