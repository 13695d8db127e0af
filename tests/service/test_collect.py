"""When slices and repetitions are complete, without a server."""

import numpy as np
import pytest

from switchrecon.scans.header import Encoding
from switchrecon.service.collect import Collector, Counts, Unit
from tests.service.test_streams import LAST_IN_REPETITION, LAST_IN_SLICE, line, lines, truth

SPACE = Encoding((16, 12, 1), (16, 12, 1), (100, 100, 5), (100, 100, 5))


def collector(
    counts: Counts | None = None, whole: bool = False, most: int = 1 << 20, embedded: bool = False
) -> Collector:
    space = Encoding((16, 12, 1), (16, 12, 1), (100, 100, 5), (100, 100, 5), embedded=embedded)
    return Collector([space, SPACE], [counts or Counts(), Counts()], whole, most)


def add(collecting: Collector, readouts: list) -> list[Unit]:
    return [
        unit for own in readouts for unit in collecting.add(bytes(own.getHead()), own.data.view(np.float32).reshape(-1))
    ]


def slices(units: list[Unit]) -> list[list[int]]:
    return [[key[-1] for key in unit.keys] for unit in units]


def test_a_slice_is_complete_when_another_follows_or_nothing_does() -> None:
    collecting = collector()
    assert add(collecting, lines(truth(), slice=3)) == []
    assert slices(add(collecting, lines(truth(), slice=1))) == [[3]]
    assert slices(collecting.settled()) == [[1]]
    assert collecting.settled() == []
    assert collecting.rest() == []


@pytest.mark.parametrize("announced", [True, False])
def test_compressed_slices_of_a_repetition_are_one_unit(announced: bool) -> None:
    collecting = collector(Counts(slices=2 if announced else None), whole=True)
    found = []
    for repetition in range(2):
        for number in range(2):
            found += add(collecting, lines(truth(), slice=number, repetition=repetition))
        if announced:
            found += collecting.settled()
        else:
            assert collecting.settled() == []  # a third slice may come
    found += collecting.rest()
    assert slices(found) == [[0, 1], [0, 1]]
    assert [unit.keys[0][1] for unit in found] == [0, 1]
    assert [len(unit.readouts.head) for unit in found] == [24, 24]


def test_the_last_readout_of_a_repetition_ends_its_slices_alone() -> None:
    collecting = collector()
    first = lines(truth(), (), slice=0) + lines(truth(), (LAST_IN_REPETITION,), slice=1)
    assert add(collecting, [*lines(truth(), (), slice=0, repetition=1)[:3], *first]) == []
    assert slices(collecting.settled()) == [[0], [1]]
    (rest,) = collecting.rest()
    assert rest.keys[0][1] == 1


def test_announced_averages_end_a_slice_at_once() -> None:
    collecting = collector(Counts(averages=2))
    assert add(collecting, lines(truth(), average=0)) == []
    assert collecting.settled() == []
    assert slices(add(collecting, lines(truth(), average=1))) == [[0]]


def test_a_unit_has_noise_and_its_calibration_lines_in_the_order_of_the_stream() -> None:
    noise = line(truth(), 0, (19,))
    early, late = (lines(truth(seed), (20,), repetition=seed)[5:7] for seed in (0, 1))
    for own in (*early, *late):
        own.setFlag(20)
    collecting = collector()
    parts = [noise, *early, *lines(truth(), repetition=0), *late]
    for repetition in (1, 2):
        parts += lines(truth(), repetition=repetition)
    units = add(collecting, parts) + collecting.settled()
    kinds = [sum(1 for head in unit.readouts.head if head["flags"] >> np.uint64(19) & np.uint64(1)) for unit in units]
    repetitions = [
        {int(head["idx"]["repetition"]) for head in unit.readouts.head if head["flags"] >> np.uint64(19) & np.uint64(1)}
        for unit in units
    ]
    assert kinds == [2, 2, 2]
    assert repetitions == [{0}, {1}, {0}]  # the third has none: those of the first
    for unit in units:
        assert int(unit.readouts.head["flags"][0]) == 1 << 18
        assert len(unit.readouts.head) == 15


def test_embedded_calibration_lines_are_imaging_lines() -> None:
    readouts = lines(truth())
    readouts[4].setFlag(20)
    collecting = collector(embedded=True)
    add(collecting, readouts)
    (unit,) = collecting.settled()
    assert len(unit.readouts.head) == 12
    assert collecting.calibration == {}


def test_readouts_of_another_encoding_space_are_left_out() -> None:
    collecting = collector()
    other = lines(truth(1), encoding_space_ref=1)
    add(collecting, [*lines(truth())[:6], *other, *lines(truth())[6:]])
    (unit,) = collecting.settled()
    assert set(unit.readouts.head["encoding_space_ref"]) == {0}
    assert len(unit.readouts.head) == 12


def test_memory_of_sent_slices_is_given_back_and_late_readouts_are_told() -> None:
    collecting = collector(most=1)
    add(collecting, lines(truth(), slice=0))
    (unit,) = collecting.settled()
    assert len(unit.readouts.samples) == 12
    assert collecting.imaging[unit.keys[0]].rows == []
    assert add(collecting, lines(truth(), (LAST_IN_SLICE,), slice=0)) == []
    assert collecting.settled() + collecting.rest() == []
    assert collecting.late == {unit.keys[0]}
