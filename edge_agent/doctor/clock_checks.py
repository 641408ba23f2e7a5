"""Does the box know what time it is: does anything vouch for its clock, can it be right, and does the hub agree.

Promise: nothing is set. Not its job: the clocks of cameras (cameras.py), what follows from a wrong clock (core/walltime.py).
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from edge_agent import told_time
from edge_agent.config import SecretError, read_secret
from edge_agent.core.messages import Memory
from edge_agent.core.settings import Settings
from edge_agent.core.walltime import floor_of
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.pairs import Pairs
from edge_agent.spool import Holdings, UnreadableError
from edge_agent.tls import client_context

# No box ran this software before; a clock beyond the other end is broken, whatever vouches for it.
_EARLIEST_S: Final = 1_735_689_600.0  # 2025-01-01
_LATEST_S: Final = 2_208_988_800.0  # 2040-01-01
_BACK_S: Final = 60.0  # below what it last knew by more than a leap or a step of NTP
_SKEW_S: Final = 60.0
_ASK_S: Final = 2.5

_NOT_VOUCHED: Final = Sentence(
    "Belum ada yang menjamin jam kotak. Catatan tetap disimpan dan waktunya dibetulkan nanti. Tunggu beberapa menit setelah internet "
    "tersambung; bila tetap begini, periksa server waktu (NTP) di network.toml dan apakah router membuka port 123.",
    "Nothing vouches for the box's clock yet. Records are kept and their times put right later. Wait some minutes after the internet is "
    "there; if it stays so, check the time servers (NTP) in network.toml, and that the router lets port 123 through.",
)
_WRONG: Final = Sentence(
    "Jam kotak tidak mungkin benar. Setel dengan: sudo timedatectl set-time 'TAHUN-BULAN-TANGGAL JAM:MENIT', lalu cari tahu mengapa server "
    "waktu (NTP) tidak membetulkannya.",
    "The box's clock cannot be right. Set it: sudo timedatectl set-time 'YEAR-MONTH-DAY HOUR:MINUTE', then find out why the time server "
    "(NTP) does not put it right.",
)
_SKEWED: Final = Sentence(
    "Jam kotak dan jam pusat kota berbeda. Salah satunya salah. Bandingkan jam kotak dengan telepon: bila kotak yang salah, periksa server "
    "waktu di network.toml; bila benar, beri tahu kota.",
    "The box's clock and the hub's differ: one of them is wrong. Compare the box's with a phone: if the box is wrong, check the time "
    "servers in network.toml; if it is right, tell the city.",
)


def _vouched(patient: Patient) -> list[Result]:
    key = "clock.synchronised"
    now = _shown(patient.clock.wall())
    if patient.clock.trusted():
        return [well(key, f"the kernel calls it synchronised: {now}")]
    seen = f"nothing vouches for it: {now}"
    return [warning(key, seen, _NOT_VOUCHED)]


def _plausible(patient: Patient) -> list[Result]:
    """Within the years of this software, and not before what the box itself once knew."""
    key, now = "clock.plausible", patient.clock.wall()
    if not _EARLIEST_S <= now <= _LATEST_S:
        seen = f"{_shown(now)} is outside {_shown(_EARLIEST_S)} to {_shown(_LATEST_S)}"
        return [fault(key, seen, _WRONG)]
    floor_s = 0.0 if patient.settings is None else _known(patient.settings)
    if now < floor_s - _BACK_S:
        seen = f"{_shown(now)}, but the box knew {_shown(floor_s)} already"
        return [fault(key, seen, _WRONG)]
    knew = f", later than {_shown(floor_s)}, which it knew" if floor_s else ""
    return [well(key, f"{_shown(now)} can be right{knew}")]


def _known(settings: Settings) -> float:
    """The newest wall time that was vouched for once, as the journal remembers it; 0 = it remembers none, or cannot be read."""
    with suppress(UnreadableError), Holdings(settings.journal.folder) as held:
        return floor_of(held.remembered(Memory.CLOCK))
    return 0.0


def _against_hub(patient: Patient) -> list[Result]:
    """Where the hub has an HTTPS door: MQTT tells no time."""
    settings = patient.settings
    if settings is None or settings.hub.tls is None or settings.hub.renew_url is None:
        return []
    if settings.simulated:
        return []
    key, tls = "clock.hub", settings.hub.tls
    asked_at = patient.clock.now()
    try:
        pair = Pairs(tls, settings.pairs_folder, secret=read_secret).proven()
        told_s = told_time.of_hub(
            settings.hub.renew_url,
            client_context(tls.ca_file, pair, clock=patient.clock),
            end=asked_at + min(_ASK_S, patient.left_s() - 0.5),
            clock=patient.clock,
        )
    except (OSError, ValueError, SecretError) as error:
        # That the way is broken is said by the hub's own checks.
        why = f"cannot be compared: {type(error).__name__}"
        return [well(key, why)]
    if told_s is None:
        return [well(key, "cannot be compared: the hub tells no date")]
    ahead_s = patient.clock.wall() - told_s
    seen = f"the box is {ahead_s:+.0f} s from {settings.hub.renew_url.split('/')[2]}"
    if abs(ahead_s) > _SKEW_S:
        return [warning(key, seen, _SKEWED)]
    return [well(key, seen)]


def _shown(wall_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{wall_s:.0f} s after 1970"


CHECKS: Final[tuple[Check, ...]] = (
    Check(key="clock.synchronised", group="clock", ask=_vouched),
    Check(key="clock.plausible", group="clock", ask=_plausible),
    Check(key="clock.hub", group="clock", ask=_against_hub),
)
