"""The system clock, as far as this machine can tell."""

from pathlib import Path

from edge_agent.clock import FlooredClock, SystemClock
from edge_agent.simulate import SimulatedClock


def test_time_since_boot_does_not_go_backwards():
    clock = SystemClock()
    readings = [clock.now() for _ in range(1000)]
    assert readings == sorted(readings)
    assert readings[0] > 0


def test_the_boot_has_a_name_that_stays():
    assert SystemClock().boot == SystemClock().boot
    assert len(SystemClock().boot) == 36


def test_wall_time_is_unix_time():
    assert SystemClock().wall() > 1_600_000_000


def test_where_the_kernel_may_not_be_asked_systemd_is(tmp_path: Path):
    """The unit's sandbox refuses adjtimex, as the kernel refuses a call with nowhere to write."""
    stamp = tmp_path / "synchronized"
    clock = SystemClock(stamp)
    clock._libc = Refusing()  # type: ignore[assignment]
    assert clock.trusted() is False
    stamp.touch()
    assert clock.trusted() is True


class Refusing:
    def adjtimex(self, _timex: object) -> int:
        return -1


def test_whether_wall_time_is_trusted_is_always_answered():
    assert SystemClock().trusted() in {True, False}


def test_below_the_floor_an_untrusted_clock_goes_on_from_it_and_a_trusted_one_is_believed():
    inner = SimulatedClock(at=100.0, wall_s=7.0)
    clock = FlooredClock(inner)
    assert clock.wall() == 7.0
    clock.set_floor(1_800_000_000.0)
    inner.at += 30.0
    inner.wall_s += 30.0
    assert clock.wall() == 1_800_000_030.0
    assert clock.now() == 130.0
    inner.wall_s = 1_800_000_500.0
    assert clock.wall() == 1_800_000_500.0
    # A floor from a clock that once ran years ahead holds only until one is vouched for.
    inner.wall_s, inner.is_trusted = 1_700_000_000.0, True
    assert clock.wall() == 1_700_000_000.0
    assert clock.trusted()
    assert clock.boot == inner.boot
