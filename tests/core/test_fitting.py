"""The limit of the hub's broker: known from the first picture on, also over restarts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.fitting import BESIDE_BYTES, LEAST_BYTES, Fitting
from edge_agent.core.messages import LimitPictures, LinkUp, Memory, Remember


def up(packet_bytes):
    return LinkUp(receive_maximum=20, maximum_packet_bytes=packet_bytes, simulated_peer=False)


def limits(commands):
    return [command.max_bytes for command in commands if isinstance(command, LimitPictures)]


def kept(commands):
    return [c.value for c in commands if isinstance(c, Remember) and c.memory is Memory.PACKET]


def test_a_broker_without_a_limit_changes_nothing():
    fitting = Fitting(None)
    assert fitting.start() == []
    assert fitting.up(up(None)) == []


def test_a_limit_is_told_once_remembered_and_lifted():
    fitting = Fitting(None)
    first = fitting.up(up(64_000))
    (most,) = limits(first)
    assert 60_000 < most < 64_000 - BESIDE_BYTES + 1
    assert fitting.up(up(64_000)) == []
    again = Fitting(kept(first)[0])
    assert limits(again.start()) == [most]
    assert again.up(up(64_000)) == []
    lifted = again.up(up(None))
    assert limits(lifted) == [None]
    assert Fitting(kept(lifted)[0]).start() == []


@given(st.integers(1, 2**32 - 1))
def test_a_picture_of_the_limit_fits_into_the_packet_sealed_too(packet_bytes):
    (most,) = limits(Fitting(None).up(up(packet_bytes)))
    sealed = most + 400 + 16 * (most // 65_536 + 1)
    assert most == LEAST_BYTES or sealed + 1_500 <= packet_bytes
    assert most >= LEAST_BYTES


@pytest.mark.parametrize("memory", [b"", b"none", b"-5", b"\xff", b"1e9", b"9" * 30])
def test_damaged_memory_is_no_limit(memory):
    assert Fitting(memory).start() == []


def test_a_limit_that_was_only_met_makes_pictures_smaller_each_time_it_is_met():
    fitting = Fitting(None)
    fitting.up(up(None))
    first, second = fitting.refused(50_000), fitting.refused(36_000)
    assert LEAST_BYTES < limits(second)[0] < limits(first)[0] < 37_500
    assert fitting.refused(36_000) == []
    assert fitting.up(up(None)) == [], "the next connection says no more than this one did"
    assert limits(fitting.up(up(20_000)))[0] < 20_000
    assert limits(fitting.up(up(None))) == limits(second)
    assert limits(fitting.refused(None)) == [None]
    assert fitting.refused(None) == []
