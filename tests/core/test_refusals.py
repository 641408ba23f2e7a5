"""Orders that reach for the switch: the hub's audit learns of each, and nobody floods the journal with them."""

from edge_agent.core.messages import Rank
from edge_agent.core.refusals import EVERY_S, Refusals


def test_the_first_is_recorded_at_once():
    refusals = Refusals()
    assert refusals.timed(at=0.0) == []
    assert refusals.deadline() is None
    refusals.refused(leaf="policy", number=3, key="privacy.switch")
    (record,) = refusals.timed(at=5.0)
    assert (record.kind, record.rank, record.at) == ("privacy.refused", Rank.AUDIT, 5.0)
    assert record.data == {"leaf": "policy", "number": 3, "key": "privacy.switch", "refused": 1}
    assert refusals.timed(at=500.0) == []


def test_those_within_a_minute_are_one_record_at_its_end():
    refusals = Refusals()
    refusals.refused(leaf="policy", number=3, key="privacy")
    assert len(refusals.timed(at=5.0)) == 1
    for number in range(1000):
        refusals.refused(leaf="command", number=number, key="privacy_off")
        assert refusals.timed(at=5.0 + number / 100) == []
    assert refusals.deadline() == 5.0 + EVERY_S
    assert refusals.timed(at=5.0 + EVERY_S - 0.01) == []
    (record,) = refusals.timed(at=5.0 + EVERY_S)
    assert record.data == {
        "leaf": "command",
        "number": 999,
        "key": "privacy_off",
        "refused": 1000,
    }
    assert refusals.deadline() is None
    refusals.refused(leaf="policy", number=None, key="privacy")
    assert refusals.timed(at=5.0 + EVERY_S) == [], "a minute after the second record, too"
    (record,) = refusals.timed(at=5.0 + 2 * EVERY_S)
    assert record.data["refused"] == 1
