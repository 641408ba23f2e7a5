"""Which message ends connections: what is lost alone, after it was there each time, and no other."""

from __future__ import annotations

from edge_agent.core.messages import Lane, Message
from edge_agent.core.suspects import CONVICT_MOST_S, CONVICT_S, SUSPECT_FROM, Suspects, Verdict
from edge_agent.core.window import Parcel


def parcel(*seqs: int, size: int = 1_000) -> Parcel:
    return Parcel(
        message=Message(topic="a", payload=b"", content_type="", retain=False),
        size=size,
        lane=Lane.LIVE,
        camera="",
        epoch="e",
        seqs=seqs,
    )


def convict(suspects: Suspects, guilty: Parcel) -> Verdict:
    """As often as it takes, alone on the line."""
    for _ in range(SUSPECT_FROM + 1):
        verdict = suspects.lost([guilty])
        if verdict is not None:
            return verdict
    raise AssertionError("never convicted")


def test_only_what_was_there_each_time_is_suspected_and_only_what_is_lost_alone_is_convicted() -> (
    None
):
    suspects = Suspects()
    assert suspects.lost([parcel(1), parcel(2, 3), parcel(4)]) is None
    assert not suspects, "one loss says nothing of anybody"
    assert suspects.lost([parcel(2), parcel(4), parcel(9)]) is None
    assert [suspects.flies_alone(parcel(seq)) for seq in (1, 2, 3, 4, 9)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    suspects.answered(parcel(2))
    assert not suspects.flies_alone(parcel(2, 3))
    assert suspects.lost([parcel(4), parcel(5)]) is None, "not alone"
    assert suspects.convicts is None
    verdict = suspects.lost([parcel(4, 5, size=700)])
    assert verdict == Verdict(parcel=parcel(4, 5, size=700), wait_s=CONVICT_S, too_large=False)
    assert suspects.convicts == (2, 4, 700)


def test_losses_with_nothing_under_way_or_with_other_things_convict_nobody() -> None:
    suspects = Suspects()
    for seq in range(100):
        assert suspects.lost([]) is None
        assert suspects.lost([parcel(seq), parcel(seq + 1_000)]) is None
    assert not suspects


def test_a_convict_waits_twice_as_long_each_time_but_only_if_the_line_carried_something_else() -> (
    None
):
    suspects, guilty = Suspects(), parcel(1)
    waits = [convict(suspects, guilty).wait_s]
    waits.append(convict(suspects, guilty).wait_s)
    for _ in range(10):
        suspects.answered(parcel(2))
        waits.append(convict(suspects, guilty).wait_s)
    assert waits[:4] == [CONVICT_S, CONVICT_S, 2 * CONVICT_S, 4 * CONVICT_S]
    assert waits[-1] == CONVICT_MOST_S
    suspects.answered(guilty)
    assert suspects.convicts is None
    assert convict(suspects, guilty).wait_s == CONVICT_S


def test_two_convicts_larger_than_all_that_was_answered_are_too_large() -> None:
    suspects = Suspects()
    assert not convict(suspects, parcel(1, size=50_000)).too_large
    suspects.answered(parcel(2, size=3_000))
    assert convict(suspects, parcel(3, size=40_000)).too_large
    assert suspects.acquit(45_000) == {1: 50_000}
    assert suspects.convicts == (1, 3, 40_000)
    assert suspects.flies_alone(parcel(1)), "whoever tries it again tries it alone"
    assert not suspects.flies_alone(parcel(9, size=3_000))
    verdict = suspects.lost([parcel(10, size=30_000)])
    assert verdict is not None
    assert verdict.too_large
    suspects.answered(parcel(11, size=60_000))
    assert not suspects.flies_alone(parcel(12, size=70_000)), "it was not the size"


def test_where_nothing_is_answered_it_is_not_the_size() -> None:
    suspects = Suspects()
    for seq in range(1, 5):
        assert not convict(suspects, parcel(seq, size=seq * 1_000)).too_large


def test_two_convicts_of_which_something_larger_was_answered_are_not() -> None:
    suspects = Suspects()
    convict(suspects, parcel(1, size=5_000))
    suspects.answered(parcel(2, size=30_000))
    assert not convict(suspects, parcel(3, size=40_000)).too_large


def test_what_is_gone_or_settled_is_nobodys_concern() -> None:
    suspects = Suspects()
    convict(suspects, parcel(1))
    convict(suspects, parcel(5))
    suspects.settled(((2, 4), (5, 9)))
    assert suspects.convicts == (1, 1, 1_000)
    suspects.forget([1])
    assert not suspects
