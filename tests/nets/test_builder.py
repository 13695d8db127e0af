"""The table of networks: each entry builds, says what it takes, and goes with the methods that can use it."""

import pytest
import torch

from switchrecon.errors import ConfigError
from switchrecon.methods.methods import find_method, with_method_settings
from switchrecon.nets.builder import (
    NETWORKS,
    build_generator,
    ends_consistent,
    find_network,
    image_parts,
    run,
    takes_encoding,
)
from switchrecon.physics.operators import Encoding
from tests.conftest import tiny_config


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_table_builds_and_runs(name: str) -> None:
    config = tiny_config(f"network={name}", "cascades=2", "unet_width=2", "iterations=2")
    entry = find_network(config)
    assert entry.about.endswith(".")
    assert entry.architecture(config)
    assert entry.initial_weights(config)
    network = build_generator(config, adaptive=False)
    image = 0.1 * torch.randn(2, 2, 64, 64)
    with torch.no_grad():
        assert run(network, image, Encoding(torch.rand(2, 64, 64) < 0.5)).shape == image.shape
    for part in image_parts(network):
        assert not takes_encoding(part)
        assert part(image).shape == image.shape


def test_what_each_network_says_of_itself() -> None:
    settings = ("cascades=3", "unet_width=2", "iterations=2")
    facts = {}
    for name in NETWORKS:
        network = build_generator(tiny_config(f"network={name}", *settings), adaptive=False)
        ends = [ends_consistent(network, coils) for coils in (1, 2)]
        facts[name] = (takes_encoding(network), len(image_parts(network)), ends)
    classical = (True, 0, [False, False])
    assert facts == {
        "paper": (False, 1, [False, False]),
        "unrolled": (True, 3, [True, False]),
        "total-variation": classical,
        "wavelet": classical,
        "sense": classical,
    }
    soft = build_generator(tiny_config("network=unrolled", "cascade_consistency=soft", *settings), adaptive=False)
    assert not ends_consistent(soft, 1)


def test_a_wrong_name_gives_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown network 'unroled'; did you mean 'unrolled'"):
        build_generator(tiny_config("network=unroled"), adaptive=False)


def test_a_network_without_adain_is_refused_by_methods_that_switch_it() -> None:
    config = tiny_config("method=switchable", "network=wavelet")
    with pytest.raises(ConfigError, match=r"'wavelet' has no AdaIN sites.* choose network paper, unrolled"):
        find_method(config).cast.build(with_method_settings(config, find_method(config)))
