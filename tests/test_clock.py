"""The system clock, as far as this machine can tell."""

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


def test_whether_wall_time_is_trusted_is_always_answered():
    assert SystemClock().trusted() in {True, False}
