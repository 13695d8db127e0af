"""One server for the tests of a module: its processes are copies of one that has loaded everything."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from switchrecon.service.asked import Answering
from switchrecon.service.server import Server
from tests.service.client import serving


@pytest.fixture(scope="module")
def run(trained: Callable[..., Path]) -> Path:
    return trained()


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serving(runs={"small": run}, answering=Answering(pixels="complex"), device="cpu") as served:
        yield served
