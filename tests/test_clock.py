"""The system clock, as far as this machine can tell."""

from pathlib import Path

from edge_agent.clock import SystemClock


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
