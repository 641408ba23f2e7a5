"""Which certificate and key a box has, whatever the power, the card and the technician did to them."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent import whole
from edge_agent.core.renewal import REFUSALS, Fate
from edge_agent.core.settings import SecretRef, Tls
from edge_agent.pairs import Pairs
from edge_agent.tls import Pair
from tests.support.local_ca import Authority, pem

ROOT = Authority()


class Box:
    """A box's configured files and its folder of later pairs."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "pairs"
        self.root = root
        self.configure(ROOT.pair())

    def configure(self, pair: Pair) -> None:
        (self.root / "ca.pem").write_bytes(ROOT.pem)
        (self.root / "box.pem").write_bytes(pair.certificate)
        (self.root / "box.key").write_bytes(pair.key)

    def pairs(self) -> Pairs:
        """As a process that has just started has them."""
        tls = Tls(
            ca_file=str(self.root / "ca.pem"),
            certificate_file=str(self.root / "box.pem"),
            key=SecretRef(file=str(self.root / "box.key")),
        )
        return Pairs(
            tls, str(self.folder), secret=lambda ref: Path(ref.file or "").read_text("ascii")
        )


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def renew(pairs: Pairs) -> Pair:
    key = pairs.request_key()
    return pairs.keep(pem(ROOT.issue("box-1", key.public_key())), key)


def sound(pair: Pair) -> bool:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pair.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return pair.leaf.public_key() == key.public_key()


def test_at_first_it_is_the_configured_one(box):
    pair = box.pairs().offer()
    assert (pair.name, sound(pair)) == ("configured", True)
    assert box.pairs().trial() is None


def test_a_new_pair_is_offered_and_once_it_worked_it_stays(box):
    pairs = box.pairs()
    fresh = renew(pairs)
    assert pairs.offer() == fresh == box.pairs().offer()
    assert pairs.proven().name == "configured"
    assert pairs.worked(fresh) is Fate.KEEP
    kept = box.pairs().offer()
    assert (kept.name, kept.certificate) == ("renewed", fresh.certificate)
    assert box.pairs().trial() is None


def test_a_new_pair_that_is_refused_gives_way_and_is_dropped_when_the_old_one_works(box):
    pairs = box.pairs()
    fresh = renew(pairs)
    for _ in range(REFUSALS):
        assert pairs.offer().name == "trial"
        pairs.refused(fresh)
        assert pairs.offer().name == "configured"
        pairs.refused(pairs.proven())
    pairs.refused(pairs.offer())
    assert pairs.worked(pairs.proven()) is Fate.DROP
    assert box.pairs().trial() is None
    assert box.pairs().offer().name == "configured"


def test_keys_are_for_the_service_alone(box):
    pairs = box.pairs()
    pairs.request_key()
    assert stat.S_IMODE((box.folder / "request.key").stat().st_mode) == 0o600
    pairs.worked(renew(pairs))
    assert stat.S_IMODE((box.folder / "renewed.pem").stat().st_mode) == 0o600
    assert not (box.folder / "request.key").exists()


def test_a_request_that_was_not_answered_keeps_its_key_over_restarts(box):
    one = box.pairs().request_key()
    assert box.pairs().request_key().private_numbers() == one.private_numbers()


def test_a_key_that_has_its_certificate_is_never_asked_for_again(box):
    pairs = box.pairs()
    key = pairs.request_key()
    raw = (box.folder / "request.key").read_bytes()
    pairs.keep(pem(ROOT.issue("box-1", key.public_key())), key)
    (box.folder / "request.key").write_bytes(raw)  # the power went before it was forgotten
    assert box.pairs().request_key().private_numbers() != key.private_numbers()


def test_a_technician_who_configures_a_new_certificate_is_obeyed(box):
    pairs = box.pairs()
    pairs.worked(renew(pairs))
    assert pairs.offer().name == "renewed"
    fresh = ROOT.pair()
    box.configure(fresh)
    assert pairs.offer().certificate == fresh.certificate
    assert pairs.offer().name == "configured"


def test_a_configured_certificate_that_is_gone_does_not_cost_what_followed_it(box):
    pairs = box.pairs()
    pairs.worked(renew(pairs))
    (box.root / "box.pem").unlink()
    (box.root / "box.key").unlink()
    assert sound(box.pairs().offer())


def test_without_any_usable_pair_the_configured_ones_trouble_is_told(box):
    (box.root / "box.pem").unlink()
    with pytest.raises(FileNotFoundError):
        box.pairs().offer()


def test_a_trial_on_a_card_that_takes_no_writes_is_offered_again_and_harms_nobody(box, monkeypatch):
    pairs = box.pairs()
    fresh = renew(pairs)

    def refuse(self: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    assert pairs.worked(fresh) is Fate.KEEP
    assert pairs.offer().name == "trial"


DAMAGES = {
    "gone": lambda raw: None,
    "empty": lambda raw: b"",
    "torn": lambda raw: raw[: len(raw) // 2],
    "torn before the key ends": lambda raw: raw[:-40],
    "garbage": lambda raw: b"\xff\x00" * 300,
    "of two pairs": lambda raw: raw[: raw.index(b"-----BEGIN PRIVATE")] + ROOT.pair().key,
    "whole": lambda raw: raw,
}


@pytest.mark.parametrize(("renewed", "trial"), list(itertools.product(DAMAGES, DAMAGES)))
def test_whatever_became_of_the_later_pairs_a_sound_one_is_offered(box, renewed, trial):
    pairs = box.pairs()
    pairs.worked(renew(pairs))
    renew(pairs)
    for name, damage in (("renewed", renewed), ("trial", trial)):
        path = box.folder / f"{name}.pem"
        raw = DAMAGES[damage](path.read_bytes())
        path.unlink()
        if raw is not None:
            path.write_bytes(raw)
    pairs = box.pairs()
    offered = pairs.offer()
    assert sound(offered)
    best = "trial" if trial == "whole" else "renewed" if renewed == "whole" else "configured"
    assert offered.name == best
    pairs.refused(offered)
    assert sound(pairs.offer())


class PowerCut(BaseException):
    """Nothing after this instant happens."""


def test_the_power_may_go_before_or_after_any_step_of_a_renewal(tmp_path, monkeypatch):
    """Cut at each call that changes the disk, before it and after it: the box that starts again has a pair that works,
    and no key of an answered request is lost together with its certificate."""
    real = {"fsync": os.fsync, "open": os.open}
    path_real = {"replace": Path.replace, "unlink": Path.unlink}
    left = [0]

    def stepped(original):
        def call(*arguments, **named):
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut
            done = original(*arguments, **named)
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut
            return done

        return call

    cuts, count = 0, 1
    while True:
        (tmp_path / str(count)).mkdir()
        box = Box(tmp_path / str(count))
        pairs = box.pairs()
        pairs.worked(renew(pairs))
        with monkeypatch.context() as patch:
            left[0] = count
            for name, original in real.items():
                patch.setattr(os, name, stepped(original))
            for name, original in path_real.items():
                patch.setattr(Path, name, stepped(original))
            ended = False
            try:
                fresh = renew(pairs)
                pairs.worked(fresh)
                ended = True
            except PowerCut:
                cuts += 1
        again = box.pairs()
        again.tidy()
        assert not list(box.folder.glob(".*"))
        assert sound(again.offer())
        assert sound(again.proven())
        assert again.proven().name == "renewed"
        # And the next renewal goes through from there.
        assert again.worked(renew(again)) is Fate.KEEP
        assert sound(box.pairs().proven())
        if ended:
            break
        count += 1
    assert cuts > 15


def test_what_a_write_left_behind_is_removed_at_the_start(box):
    box.folder.mkdir()
    whole.write(box.folder / "request.key", b"x")
    (box.folder / ".trial.pem.77.new").write_bytes(b"half a key")
    box.pairs().tidy()
    assert [path.name for path in box.folder.iterdir()] == ["request.key"]


def test_the_chain_behind_a_certificate_is_kept_with_it(box):
    between = Authority("between", above=ROOT)
    pairs = box.pairs()
    key = pairs.request_key()
    leaf = between.issue("box-1", key.public_key())
    pairs.worked(pairs.keep(pem(leaf, between.certificate), key))
    chain = x509.load_pem_x509_certificates(box.pairs().offer().certificate)
    assert chain == [leaf, between.certificate]
