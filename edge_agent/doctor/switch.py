"""Checks of the privacy switch, the cameras' relay, and, on request, the lamps.

While the agent runs, its own word is taken, and no pin is touched. Alone, contacts and feedback are read as inputs and given
back at once; the relay is never driven, and the lamps only where somebody asked for it and looks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from edge_agent.core.privacy import ODD_AFTER_S
from edge_agent.core.settings import Privacy, Relay, SwitchKind
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.doctor.hardware import LAMP_S
from edge_agent.doctor.service import finding_of, findings

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROUP: Final = "switch"
_DAY_S: Final = 86_400.0
_FAULTS: Final = {
    "privacy_wiring": "switch.contacts",
    "privacy_unreadable": "switch.contacts",
    "privacy_jammed": "switch.contacts",
    "privacy_relay": "switch.relay",
}

_REMEDY_FITTED: Final = Sentence(
    "Kotak ini tidak punya tombol privasi. Ini hanya boleh bila RT setuju secara tertulis; bila tidak, pasang tombolnya.",
    "This box has no privacy switch. That is allowed only where the RT agreed in writing; otherwise fit one.",
)
_REMEDY_PIN: Final = Sentence(
    "Pin tombol tidak terbaca. Hentikan program lain yang memakainya dan periksa hak layanan atas GPIO; sampai terbaca, semua "
    "kamera tetap privat.",
    "The switch's pins cannot be read. Stop the other program that uses them, and see that the service may use GPIO; until then "
    "all cameras stay private.",
)
_REMEDY_WIRING: Final = Sentence(
    "Kedua kontak tombol terbaca sama: kabel putus, korsleting, atau tertukar. Periksa steker tombol; bawa blok kontak cadangan "
    "dan multimeter. Setelah itu tekan dan lepas tombol sekali.",
    "Both contacts of the switch read alike: a wire is cut, shorted or in the wrong place. Check the switch's plug; bring a spare "
    "contact block and a multimeter. Afterwards press and release it once.",
)
_REMEDY_POWER: Final = Sentence(
    "Tombol dan relai daya kamera tidak sejalan. Tanpa daya: NC dan NO tertukar, sekring putus atau relai K1 rusak. Masih berdaya: "
    "kontak K1 lengket. Bawa multimeter, sekring dan relai cadangan.",
    "The switch and the relay of the cameras' power disagree. No power: NC and NO are swapped, the fuse blew or relay K1 is "
    "broken. Still power: a contact of K1 is welded. Bring a multimeter, a fuse and a spare relay.",
)
_REMEDY_PRESS: Final = Sentence(
    "Sudah lama tombol tidak diuji. Minta sekretaris RT menekan dan melepasnya sekali, dan lihat lampu biru.",
    "The switch was not tested for long. Ask the RT secretary to press and release it once, and watch the blue lamp.",
)
_REMEDY_LAMP: Final = Sentence(
    "Lampu tidak dapat dinyalakan. Periksa pinnya di box.toml, kabel dan penggerak ULN2003; hentikan program lain yang memakai pin itu.",
    "The lamp cannot be driven. Check its pin in box.toml, its wire and the ULN2003 driver; stop other programs that use the pin.",
)


def _fitted(patient: Patient) -> list[Result]:
    key, settings = "switch.fitted", patient.settings
    if settings is None:
        return []
    kind = settings.privacy.switch
    if kind is SwitchKind.NONE:
        return [
            warning(key, 'switch = "none": nobody here can make this box private', _REMEDY_FITTED)
        ]
    return [well(key, kind.value)]


def _contacts(patient: Patient) -> list[Result]:
    settings = patient.settings
    if settings is None or settings.privacy.switch is SwitchKind.NONE:
        return []
    if patient.agent.running:
        return _told(patient)
    return _read(settings.privacy, patient)


# ---- beside the agent ----


def _told(patient: Patient) -> list[Result]:
    if patient.agent.status is None:
        return []  # service.answers says so
    private = patient.agent.status.get("private")
    private = private if isinstance(private, dict) else {}
    wrong = private.get("fault")
    at_fault = _FAULTS.get(wrong, "switch.contacts") if isinstance(wrong, str) else None
    state = "private" if private.get("on") is not False else "live"
    results = []
    for key in ("switch.contacts", "switch.relay"):
        if key == at_fault:
            remedy = finding_of(patient, str(wrong)) or _REMEDY_WIRING
            results.append(fault(key, f"the agent says: {wrong}", remedy))
        elif key == "switch.contacts":
            results.append(well(key, f"the agent reads it: {state}"))
        elif patient.settings is not None and patient.settings.privacy.feedback_pin is not None:
            results.append(well(key, "the agent finds that switch and relay agree"))
    return [*results, *_press_test(patient, private)]


def _press_test(patient: Patient, private: Mapping[str, object]) -> list[Result]:
    key, age_s = "switch.press-test", private.get("last_press_test_age_s")
    seen = "no press is known"
    if isinstance(age_s, int | float):
        seen = f"last pressed {age_s / _DAY_S:.0f} days ago"
    if any(found.get("key") == "privacy_press_test" for found in findings(patient)):
        return [warning(key, seen, _REMEDY_PRESS)]
    return [well(key, seen)]


# ---- alone ----


def _read(privacy: Privacy, patient: Patient) -> list[Result]:
    key = "switch.contacts"
    if patient.factory is None:
        return []  # gpio.chip says why
    nc_closed, no_closed, why = _look(privacy, patient)
    if why:
        return [fault(key, why, _REMEDY_PIN)]
    latching = privacy.switch is SwitchKind.LATCHING
    if latching and nc_closed == no_closed:
        # A hand may just be moving it: the travel of a mushroom button takes less than this.
        threading.Event().wait(ODD_AFTER_S)
        nc_closed, no_closed, why = _look(privacy, patient)
        if why or nc_closed == no_closed:
            alike = "closed" if nc_closed else "open"
            seen = (
                why or f"NC on GPIO{privacy.nc_pin} and NO on GPIO{privacy.no_pin} are both {alike}"
            )
            return [fault(key, seen, _REMEDY_WIRING)]
    live = nc_closed is True and no_closed is not True
    if latching:
        seen = f"NC {_word(nc_closed)}, NO {_word(no_closed)}: {'live' if live else 'private'}"
    else:
        seen = f"contact {_word(nc_closed)}: {'not pressed' if live else 'pressed, or its wire is cut'}"
    if not latching and not live:
        return [warning(key, seen, _REMEDY_WIRING)]
    return [well(key, seen), *_relay(privacy, patient, live=live)]


def _look(privacy: Privacy, patient: Patient) -> tuple[bool | None, bool | None, str]:
    from edge_agent.sensors import contacts_alone  # noqa: PLC0415 - it brings the pin library

    at = patient.clock.now()
    return contacts_alone(privacy, patient.factory, patient.why_no_factory, at=at)


def _input(pin: int, patient: Patient) -> tuple[bool | None, str]:
    """Whether a contact is closed, and why that is not known."""
    from edge_agent.sensors.pins import Input  # noqa: PLC0415 - it brings the pin library

    contact = Input(pin, patient.factory, patient.why_no_factory)
    try:
        return contact.on(patient.clock.now()), contact.why
    finally:
        contact.close()


def _word(closed: bool | None) -> str:  # noqa: FBT001 - one contact
    return {True: "closed", False: "open", None: "not read"}[closed]


def _relay(privacy: Privacy, patient: Patient, *, live: bool) -> list[Result]:
    key = "switch.relay"
    if privacy.feedback_pin is None:
        return []
    off, why = _input(privacy.feedback_pin, patient)
    if off is None:
        return [fault(key, why, _REMEDY_PIN)]
    state = "the cameras have no power" if off else "the cameras have power"
    # A pump that nobody toggles gives no power, whatever the switch says; the other wirings follow the switch.
    expected_off = privacy.relay is Relay.PUMP or not live
    if off == expected_off or (not privacy.cut_power and not live):
        return [well(key, f"{state}, as the switch has it")]
    return [
        fault(key, f"{state}, and the switch is {'live' if live else 'private'}", _REMEDY_POWER)
    ]


# ---- lamps ----


def _lamps(patient: Patient) -> list[Result]:
    key, settings = "switch.lamps", patient.settings
    if settings is None:
        return []
    if patient.agent.running:
        if patient.agent.status is None:
            return []
        undriven = finding_of(patient, "privacy_undriven")
        if undriven is not None:
            return [fault(key, "the agent cannot drive a lamp, the buzzer or the relay", undriven)]
        return [well(key, "the agent drives them; to see each, stop it and add --lamps")]
    return _light(settings.privacy, patient) if patient.lamps else []


def _light(privacy: Privacy, patient: Patient) -> list[Result]:
    fitted = (
        ("lamp of private", privacy.lamp_private_pin),
        ("lamp of live", privacy.lamp_live_pin),
        ("buzzer", privacy.buzzer_pin),
    )
    return [_light_one(what, pin, patient) for what, pin in fitted if pin is not None]


def _light_one(what: str, pin: int, patient: Patient) -> Result:
    from edge_agent.sensors.pins import Output  # noqa: PLC0415 - it brings the pin library

    key = "switch.lamps"
    if patient.factory is None:
        return fault(key, patient.why_no_factory, _REMEDY_LAMP, about=what)
    output = Output(pin, patient.factory, what=what)
    try:
        if not output.drive(on=True, at=patient.clock.now()):
            return fault(key, output.why, _REMEDY_LAMP, about=what)
        threading.Event().wait(LAMP_S)
    finally:
        output.close()
    return well(
        key,
        f"GPIO{pin} was driven for {LAMP_S:g} s: somebody must have seen or heard it",
        about=what,
    )


CHECKS: Final = (
    Check(key="switch.fitted", group=_GROUP, ask=_fitted),
    Check(
        key="switch.contacts",
        group=_GROUP,
        ask=_contacts,
        also=("switch.relay", "switch.press-test"),
    ),
    Check(key="switch.lamps", group=_GROUP, ask=_lamps),
)
