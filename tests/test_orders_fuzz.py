"""No order that is forged, replayed, retained, expired, misaddressed, cut, huge or absurd is executed, and the agent lives on."""

import pytest

from tests.support.orderfuzz import fuzz


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [7])
def test_no_bad_order_is_executed_and_good_ones_still_are(seed: int):
    found = fuzz(2000, seed)
    assert found["wrongs"] == []
    assert found["good_executed"] == found["good"] > 2
    assert found["alive"]
    assert sum(found["kinds"].values()) == 2000
    # Most are refused by what they say, not by who signed them.
    assert sum(found["signed_by_the_hub"].values()) > 1000


def test_the_count_would_notice_an_agent_that_obeys(monkeypatch: pytest.MonkeyPatch):
    """A box on which nothing ever expires and no number is too old is caught."""
    monkeypatch.setattr("edge_agent.core.commands.Commands._unfit", lambda *_: "")
    found = fuzz(100, 7)
    assert found["executed"] > 0
