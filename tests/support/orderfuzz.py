"""Commands and policies that must come to nothing, by the ten thousand, through the real signature check and the real agent.

    python -m tests.support.orderfuzz --count 100000 --seed 7        (or: make fuzz-orders)

What is executed is counted by what the agent does, not by what it says of it; good orders in between show that the counter works and
that the agent is alive. The last line is JSON; exit code 1 if anything was executed, or a good order was not.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from edge_agent.core.messages import (
    Command,
    Delivered,
    Disconnect,
    Event,
    HubMessage,
    Keep,
    Memory,
    OpenShutter,
    OrderForged,
    OrderVerified,
    Remember,
    Remembered,
    Say,
    Send,
    SetPeriod,
    ShowLamps,
    StartCameras,
    Stop,
    StopCameras,
    Verify,
)
from edge_agent.orders import MAX_ORDER_BYTES, Orders
from tests.support.build import STREET, opened, picture
from tests.support.orders import BOX, claims
from tests.support.play import LIVE, RIVER, Play, settings

AGAIN = 1000  # a good order after so many bad ones
PAUSE_S = 130.0  # between two good ones, so that the hour's allowance lasts
NAMES = ("burst", "reverify", "locate", "report", "sync-now")
GOOD: dict[str, dict[str, Any]] = {
    "burst": {"period_s": 1, "minutes": 1},
    "reverify": {"cameras": ["river"]},
    "locate": {"seconds": 5},
    "report": {},
    "sync-now": {},
}
# Records that stand for a deed; of a refusal there are finding.* and *.refused.
DEEDS = frozenset(
    {
        "command.accepted",
        "command.done",
        "box.report",
        "gate.changed",
        "hub.suspended",
        "hub.resumed",
    }
)


class Victim:
    """A live box with an open gate, its journal and its broker answering at once."""

    def __init__(self, key_file: str) -> None:
        self.orders = Orders(key_file)
        self.play = Play.begin(settings(cameras=(RIVER,)))
        self.play.go_live()
        self.play.connect_hub()
        self.post(opened(camera="river"))
        self.rest(16.0)
        assert self.is_open()

    def is_open(self) -> bool:
        return bool(self.play.status()["cameras"][0]["gate"] == "open")

    def rest(self, seconds: float) -> None:
        """Time goes by over a street that is as it should be."""
        for _ in range(max(1, round(seconds / 2.0))):
            self.play.wait(2.0, switch=LIVE)
            waiting = [command for _, command in self.play.done]
            self.play.done.clear()
            self._answer(waiting)
            self.post(picture(camera="river", taken_at=self.play.now, reading=STREET))

    def post(self, event: Event) -> list[Command]:
        """*event*, and all that the shell answers to what follows from it; what was done in all."""
        done = self.play.post(event)
        self.play.done.clear()
        return done + self._answer(done)

    def _answer(self, commands: list[Command]) -> list[Command]:
        out: list[Command] = []
        for command in commands:
            match command:
                case Verify(message=message):
                    out += self.post(self.orders.verify(message))
                case Remember(memory=memory, value=value):
                    out += self.post(Remembered(memory=memory, value=value, durable=True))
                case Send(ticket=ticket):
                    out += self.post(Delivered(ticket=ticket, code=0))
                case _:
                    pass
        return out


def executed(done: list[Command]) -> list[str]:
    """What among *done* was done because of an order; [] = nothing."""
    found = []
    for command in done:
        match command:
            case Keep(record=record) if record.kind in DEEDS:
                found.append(record.kind)
            case Remember(memory=Memory.COMMANDS | Memory.POLICY as memory):
                found.append(memory.value)
            case ShowLamps(lamp=lamp):
                found.append(f"lamps {lamp.value}")
            case (
                SetPeriod() | OpenShutter() | StartCameras() | StopCameras() | Stop() | Disconnect()
            ):
                found.append(type(command).__name__)
            case _:
                pass
    return found


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Attacker:
    """Makes orders of every bad kind; whatever needs it is signed with the hub's own key."""

    def __init__(self, rng: random.Random, hub: OKPKey, wall_s: Callable[[], float]) -> None:
        self.rng = rng
        self.hub = hub
        self.wall_s = wall_s
        self.stranger = OKPKey.generate_key("Ed25519")
        self.number = 1  # above all that was obeyed
        self.last = {"policy": 0, "command": 0}  # numbers that were obeyed
        self.obeyed: list[HubMessage] = []
        self.kinds: dict[str, Callable[[], HubMessage]] = {
            name.removeprefix("kind_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("kind_")
        }

    # -- what is in order --

    def sign(self, text: bytes | str, key: OKPKey | None = None) -> bytes:
        token = jws.serialize_compact(
            {"alg": "Ed25519"}, text, key or self.hub, algorithms=["Ed25519"]
        )
        return token.encode()

    def body(self, **more: object) -> dict[str, object]:
        name = self.rng.choice(NAMES)
        body = claims(self.number, name, dict(GOOD[name]), expires=self.wall_s() + 600.0)
        return body | more

    def policy(self, **more: object) -> dict[str, object]:
        body = {
            "v": 1,
            "kind": "policy",
            "aud": BOX,
            "number": self.number,
            "suspended_until": self.wall_s() + 1e6,
            "reason_id": "banjir",
            "reason_en": "flood",
        }
        return body | more

    def either(self, **more: object) -> tuple[str, dict[str, object]]:
        if self.rng.random() < 0.5:
            return "policy", self.policy(**more)
        return "command", self.body(**more)

    def message(self, leaf: str, payload: bytes, *, retained: bool | None = None) -> HubMessage:
        return HubMessage(
            leaf=leaf,
            payload=payload,
            retained=leaf == "policy" if retained is None else retained,
            response_topic="anywhere",
            correlation=self.rng.choice([None, b"", b"c", self.rng.randbytes(40)]),
        )

    def signed(self, leaf: str, body: object) -> HubMessage:
        return self.message(leaf, self.sign(json.dumps(body)))

    def good(self) -> HubMessage:
        """One that must be obeyed."""
        self.number += 1
        if self.rng.random() < 0.3:
            found = self.signed("policy", self.policy(suspended_until=None))
        else:
            found = self.signed("command", self.body())
        self.obeyed.append(found)
        self.last[found.leaf] = self.number
        self.number += 1
        return found

    # -- what is not --

    def kind_forged_by_a_stranger(self) -> HubMessage:
        leaf, body = self.either()
        return self.message(leaf, self.sign(json.dumps(body), self.stranger))

    def kind_forged_algorithm(self) -> HubMessage:
        leaf, body = self.either()
        text = json.dumps(body).encode()
        public = self.hub.as_pem(private=False)
        tokens = [
            lambda: b64(b'{"alg":"none"}') + b"." + b64(text) + b".",
            lambda: b64(b'{"alg":"Ed25519"}') + b"." + b64(text) + b".",
            lambda: jws.serialize_compact(
                {"alg": "HS256"}, text, OctKey.import_key(b64(public)), algorithms=["HS256"]
            ).encode(),
            lambda: jws.serialize_compact(
                {"alg": "ES256"}, text, ECKey.generate_key("P-256"), algorithms=["ES256"]
            ).encode(),
            lambda: jws.serialize_compact(
                {"alg": "Ed25519", "jwk": self.stranger.as_dict(private=False)},
                text,
                self.stranger,
                algorithms=["Ed25519"],
            ).encode(),
        ]
        return self.message(leaf, self.rng.choice(tokens)())

    def kind_forged_by_a_changed_bit(self) -> HubMessage:
        """In what is signed, or in the signature but for its last letter, whose lowest bits mean nothing."""
        leaf, body = self.either()
        token = bytearray(self.sign(json.dumps(body)))
        place = self.rng.randrange(len(token) - 1)
        token[place] ^= 1 << self.rng.randrange(7)
        return self.message(leaf, bytes(token))

    def kind_replayed(self) -> HubMessage:
        """Obeyed before: a hub that asks again, or somebody who recorded it. Not the policy in force: that is no replay."""
        old = [message for message in self.obeyed if message.leaf == "command"]
        policies = [message for message in self.obeyed if message.leaf == "policy"]
        return self.rng.choice(old + policies[:-1]) if old else self.kind_nonsense()

    def kind_old_number(self) -> HubMessage:
        leaf, body = self.either()
        last = self.last[leaf]
        return self.signed(leaf, body | {"number": self.rng.randrange(last) if last else -1})

    def kind_retained(self) -> HubMessage:
        return self.message("command", self.sign(json.dumps(self.body())), retained=True)

    def kind_expired(self) -> HubMessage:
        ago_s = self.rng.choice([0.001, 1.0, 60.0, 1e9])
        return self.signed("command", self.body(expires=max(0.0, self.wall_s() - ago_s)))

    def kind_far_ahead(self) -> HubMessage:
        expires = self.rng.choice([self.wall_s() + 86_401.0, 253_402_300_799, 253_402_300_800])
        return self.signed("command", self.body(expires=expires))

    def kind_misaddressed(self) -> HubMessage:
        leaf, body = self.either(
            aud=self.rng.choice(
                [
                    "cctv/v1/kuningan/03/07/box-2",
                    "cctv/v1/kuningan/03/0",
                    "cctv/v1/kuningan/03/07/box-1/command",
                    "cctv/v1/Kuningan",
                    "cctv/v2",
                    "cctv",
                    "",
                    "#",
                    "cctv/v1/+",
                    None,
                    [BOX],
                    {"aud": BOX},
                    True,
                    f"{BOX}\x00",
                    f" {BOX}",
                ]
            )
        )
        return self.signed(leaf, body)

    def kind_other_topic(self) -> HubMessage:
        """A good policy as a command, and the other way round."""
        if self.rng.random() < 0.5:
            return self.signed("command", self.policy())
        return self.signed("policy", self.body())

    def kind_truncated(self) -> HubMessage:
        leaf, body = self.either()
        token = self.sign(json.dumps(body))
        return self.message(leaf, token[: self.rng.randrange(len(token))])

    def kind_truncated_then_signed(self) -> HubMessage:
        leaf, body = self.either()
        text = json.dumps(body)
        return self.message(leaf, self.sign(text[: self.rng.randrange(len(text))]))

    def kind_huge(self) -> HubMessage:
        leaf, body = self.either(padding="x" * self.rng.choice([MAX_ORDER_BYTES, 300_000]))
        return self.signed(leaf, body)

    def kind_wide(self) -> HubMessage:
        """Within the bytes that are read."""
        wide = self.rng.choice(
            [
                {"cameras": ["river"] * 900},
                {"cameras": [str(number) for number in range(900)]},
                {f"a{number}": number for number in range(500)},
                {"seconds": int("9" * 4000)},
            ]
        )
        return self.signed("command", self.body(name="reverify", arguments=wide))

    def kind_deep(self) -> HubMessage:
        deep = self.rng.choice([20, 300, 3000, 5500])
        nest = self.rng.choice(["[]", "{}"])
        inner = (
            "[" * deep + "]" * deep
            if nest == "[]"
            else '{"a":' * (deep // 3) + "1" + "}" * (deep // 3)
        )
        text = json.dumps(self.body(name="reverify", arguments={"cameras": "@"}))
        return self.message("command", self.sign(text.replace('"@"', inner)))

    def kind_key_given_twice(self) -> HubMessage:
        leaf, body = self.either()
        text = json.dumps(body)
        name = self.rng.choice(list(body))
        return self.message(leaf, self.sign(f"{text[:-1]},{json.dumps({name: body[name]})[1:]}"))

    def kind_no_number_of_json(self) -> HubMessage:
        value = self.rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
        member = self.rng.choice(["number", "expires", "v"])
        text = json.dumps(self.body(**{member: "@"}))
        return self.message("command", self.sign(text.replace('"@"', value)))

    def kind_no_number_in_an_argument(self) -> HubMessage:
        name, member = self.rng.choice(
            [("locate", "seconds"), ("burst", "period_s"), ("burst", "minutes")]
        )
        value = self.rng.choice(
            ["NaN", "Infinity", "1e999", "-1", "0", '"5"', "true", "null", "[5]"]
        )
        text = json.dumps(self.body(name=name, arguments={**GOOD[name], member: "@"}))
        return self.message("command", self.sign(text.replace('"@"', value)))

    def kind_wrong_type(self) -> HubMessage:
        member = self.rng.choice(["v", "kind", "aud", "number", "name", "expires", "arguments"])
        wrong = self.rng.choice([None, [], [1], "", "x" * 300, -1, 2**63, 1.5, {"a": 1}, False])
        return self.signed("command", self.body(**{member: wrong}) | self._not(member, wrong))

    def _not(self, member: str, wrong: object) -> dict[str, object]:
        """So that what is no fault after all is one: arguments that are an object, a date long past."""
        if member == "expires" or (member == "arguments" and isinstance(wrong, dict)):
            return {"name": "privacyless-open"}
        return {}

    def kind_bad_policy(self) -> HubMessage:
        member, wrong = self.rng.choice(
            [
                ("suspended_until", "tomorrow"),
                ("suspended_until", -1),
                ("suspended_until", 1e300),
                ("suspended_until", [1]),
                ("reason_id", "\n"),
                ("reason_en", "x" * 401),
                ("number", -1),
                ("number", 1.5),
                ("number", None),
                ("v", 2),
            ]
        )
        return self.signed("policy", self.policy(**{member: wrong}))

    def kind_unknown_name(self) -> HubMessage:
        name = self.rng.choice(
            ["open", "live", "release", "approve", "lift", "reboot", "update", "burst-", "locate-all",
             "Burst", "burst\n", "burst\x00", "bürst", "\uff42urst", "\u202etsrub", "burst\u200b", "\u0299urst", ""]
        )  # fmt: skip
        return self.signed("command", self.body(name=name))

    def kind_unknown_argument(self) -> HubMessage:
        name = self.rng.choice(NAMES)
        extra = self.rng.choice(
            ["open", "force", "camera", "Cameras", "cameras\u200b", "", "\x00", "\ud800", "x" * 900]
        )
        return self.signed("command", self.body(name=name, arguments={**GOOD[name], extra: 1}))

    def kind_unknown_camera(self) -> HubMessage:
        camera: Any = self.rng.choice(
            [
                "",
                "gate",
                "RIVER",
                "river ",
                "rivér",
                "../river",
                "river\x00",
                None,
                1,
                ["river"],
                {},
            ]
        )
        name = self.rng.choice(["burst", "reverify"])
        cameras = self.rng.choice([[camera], ["river", camera], [], {"river": camera}, "river"])
        return self.signed(
            "command", self.body(name=name, arguments={**GOOD[name], "cameras": cameras})
        )

    def kind_reaches_for_privacy(self) -> HubMessage:
        more: dict[str, object] = self.rng.choice(
            [
                {"privacy": "off"},
                {"privacy.switch": "none"},
                {"arguments": {"privacy_on": False}},
                {"deep": [{"a": {"Privacy_purge_s": 0}}]},
                {"name": "privacy-off"},
                {"name": "privacy"},
            ]
        )
        leaf, body = self.either(**more)
        return self.signed("command" if "name" in more else leaf, body)

    def kind_all_numbers_used_up(self) -> HubMessage:
        return self.signed("command", self.body(number=self.rng.choice([2**63 - 1, 2**62, 2**63])))

    def kind_nonsense(self) -> HubMessage:
        payload = self.rng.choice(
            [
                b"",
                b"{}",
                b"...",
                b"a.b.c",
                b"\xff\xfe",
                b"." * 10_000,
                json.dumps(self.body()).encode(),
                self.rng.randbytes(self.rng.randrange(400)),
                b64(self.rng.randbytes(30))
                + b"."
                + b64(b"{}")
                + b"."
                + b64(self.rng.randbytes(64)),
            ]
        )
        return self.message(self.rng.choice(["policy", "command"]), payload)

    def kind_bytes_that_are_signed(self) -> HubMessage:
        payload = self.rng.choice(
            [b"", b"null", b"[]", b"1", b'"x"', b"\xff", b"\x00" * 50, self.rng.randbytes(200)]
        )
        return self.message(self.rng.choice(["policy", "command"]), self.sign(payload))


def fuzz(count: int, seed: int) -> dict[str, Any]:
    """*count* bad orders, and good ones in between: what came of them."""
    rng = random.Random(seed)
    hub = OKPKey.generate_key("Ed25519")
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "hub.pem"
        key_file.write_bytes(hub.as_pem(private=False))
        victim = Victim(str(key_file))
        play = victim.play
        attacker = Attacker(rng, hub, lambda: play.agent.wall(at=play.now))
        sent: Counter[str] = Counter()
        signed: Counter[str] = Counter()
        wrongs: list[str] = []
        good = obeyed = records = bytes_kept = 0
        names = sorted(attacker.kinds)
        for turn in range(count):
            if turn % AGAIN == 0:
                victim.rest(PAUSE_S)
                good += 1
                obeyed += bool(executed(victim.post(attacker.good())))
                victim.rest(PAUSE_S)  # what it set in motion is over, and the gate open again
                assert victim.is_open()
            kind = names[turn % len(names)]
            message = attacker.kinds[kind]()
            checked = victim.orders.verify(message)
            assert isinstance(checked, OrderVerified | OrderForged)
            sent[kind] += 1
            signed[kind] += isinstance(checked, OrderVerified)
            done = victim.post(message)
            found = executed(done)
            if found:
                wrongs.append(f"{kind}: {found} after {message}"[:600])
            kept = [c.record for c in done if isinstance(c, Keep)]
            records += len(kept)
            bytes_kept += sum(len(json.dumps(record.data)) for record in kept)
            lines = [c.text for c in done if isinstance(c, Say)]
            assert all(len(line) < 2000 for line in lines)
            if turn % 100 == 99:
                victim.rest(2.0)
        good += 1
        victim.rest(PAUSE_S)
        obeyed += bool(executed(victim.post(attacker.good())))
        victim.rest(PAUSE_S)
        alive = victim.is_open() and play.status()["private"]["on"] is False
        return {
            "count": count,
            "seed": seed,
            "executed": len(wrongs),
            "wrongs": wrongs[:5],
            "good": good,
            "good_executed": obeyed,
            "alive": alive,
            "records": records,
            "record_bytes": bytes_kept,
            "kinds": dict(sorted(sent.items())),
            "signed_by_the_hub": {kind: n for kind, n in sorted(signed.items()) if n},
        }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Orders that must come to nothing.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    found = fuzz(options.count, options.seed)
    for kind, count in found["kinds"].items():
        print(f"{kind:32} {count:7}  signed {found['signed_by_the_hub'].get(kind, 0):7}")
    print(json.dumps(found))
    passed = not found["executed"] and found["good"] == found["good_executed"] and found["alive"]
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
