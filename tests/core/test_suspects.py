"""Which message ends connections: what is lost alone, after it was there each time, and no other."""

from __future__ import annotations

from edge_agent.core.messages import Lane, Message
from edge_agent.core.suspects import (
    CONVICT_MOST_S,
    CONVICT_S,
    SUSPECT_FROM,
    UNPROVEN_S,
    Suspects,
    Verdict,
)
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
    assert not any(suspects.flies_alone(parcel(seq)) for seq in range(9)), "one loss says nothing"
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
    assert suspects.lost([parcel(4)], beside=True) is None, "nor this"
    suspects.answered(parcel(8))
    verdict = suspects.lost([parcel(4, 5, size=700)])
    assert verdict == Verdict(
        parcel=parcel(4, 5, size=700), wait_s=CONVICT_S, guilty=True, too_large=False
    )
    assert suspects.convicts == (2, 4, 700)


def test_losses_with_nothing_under_way_or_with_other_things_convict_nobody() -> None:
    suspects = Suspects()
    for seq in range(100):
        assert suspects.lost([]) is None
        assert suspects.lost([parcel(seq), parcel(seq + 1_000)]) is None
    assert not any(suspects.flies_alone(parcel(seq)) for seq in range(1_100))


def test_where_nothing_is_answered_nobody_is_named_and_nobody_waits_for_long() -> None:
    suspects = Suspects()
    suspects.answered(parcel(99))  # of a connection that was well
    for _ in range(20):
        verdict = convict(suspects, parcel(1))
        assert (verdict.wait_s, verdict.guilty, suspects.convicts) == (UNPROVEN_S, False, None)
    suspects.answered(parcel(2))
    assert convict(suspects, parcel(1)).guilty
    assert suspects.convicts == (1, 1, 1_000)


def test_an_answer_in_between_clears_what_was_there_at_one_loss() -> None:
    suspects = Suspects()
    suspects.lost([parcel(1), parcel(2)])
    suspects.answered(parcel(1))
    suspects.lost([parcel(1), parcel(7)])
    assert not suspects.flies_alone(parcel(1))


def test_whoever_is_answered_is_no_convict_however_it_came_to_be_one() -> None:
    suspects = Suspects()
    guilty = [parcel(2, size=50_000), parcel(3, size=60_000), parcel(4, size=2_000)]
    for each in guilty:
        suspects.lost([each, parcel(8)])
        suspects.answered(parcel(9, size=10_000))
        convict(suspects, each)
    suspects.lost([])
    suspects.answered(parcel(9, size=10_000))
    suspects.lost([parcel(5, size=55_000)])  # flew alone for its size
    for each in (*guilty, parcel(5, size=55_000), parcel(8)):
        suspects.answered(each)
    assert suspects.convicts is None
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
    assert waits[:5] == [UNPROVEN_S, UNPROVEN_S, CONVICT_S, 2 * CONVICT_S, 4 * CONVICT_S]
    assert convict(suspects, guilty).wait_s == CONVICT_MOST_S, "no less because nothing came since"
    assert waits[-1] == CONVICT_MOST_S
    suspects.answered(guilty)
    assert suspects.convicts is None
    assert convict(suspects, guilty).wait_s == UNPROVEN_S


def guilty(suspects: Suspects, each: Parcel) -> Verdict:
    """As often as it takes, with something small answered in between."""
    suspects.lost([each, parcel(999)])
    suspects.answered(parcel(998, size=3_000))
    return convict(suspects, each)


def test_two_convicts_larger_than_all_that_was_answered_are_too_large() -> None:
    suspects = Suspects()
    assert not guilty(suspects, parcel(1, size=50_000)).too_large
    assert guilty(suspects, parcel(3, size=40_000)).too_large
    assert suspects.convicts == (1, 1, 50_000), "somebody else keeps the other one"
    assert not suspects.flies_alone(parcel(9, size=3_000))
    assert suspects.flies_alone(parcel(10, size=30_000))
    suspects.lost([])
    verdict = suspects.lost([parcel(10, size=30_000)])
    assert verdict is not None
    assert not verdict.guilty, "the way may have broken before it"
    suspects.answered(parcel(997))
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
    guilty(suspects, parcel(1, size=5_000))
    suspects.answered(parcel(2, size=30_000))
    assert not guilty(suspects, parcel(3, size=40_000)).too_large


def test_what_is_gone_or_settled_is_nobodys_concern() -> None:
    suspects = Suspects()
    guilty(suspects, parcel(1))
    guilty(suspects, parcel(5))
    suspects.forget([999])
    suspects.settled(((2, 4), (5, 9)))
    assert suspects.convicts == (1, 1, 1_000)
    suspects.forget([1])
    assert not suspects
