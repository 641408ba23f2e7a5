"""The values of a box.toml: frozen, with the defaults that the documents name."""

from __future__ import annotations

import dataclasses

import pytest

from edge_agent.core import settings
from edge_agent.core.settings import (
    CABLES,
    Camera,
    CameraKind,
    Health,
    Journal,
    Privacy,
    Run,
    SecretRef,
    SparePair,
    SwitchKind,
)

RUN = Run(camera="gate", cable="cat5e-outdoor", length_m=50)


@pytest.mark.parametrize(
    "name",
    [
        "Identity",
        "SecretRef",
        "Tls",
        "Hub",
        "Camera",
        "Run",
        "Privacy",
        "Journal",
        "Health",
        "Settings",
    ],
)
def test_what_was_checked_once_cannot_be_changed(name):
    kind = getattr(settings, name)
    assert dataclasses.fields(kind)
    assert kind.__dataclass_params__.frozen
    assert not hasattr(object.__new__(kind), "__dict__")


def test_a_value_refuses_a_new_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RUN.length_m = 5  # type: ignore[misc]


def test_the_safe_side_is_the_default():
    privacy = Privacy(switch=SwitchKind.LATCHING)
    assert (
        len({privacy.nc_pin, privacy.no_pin, privacy.lamp_private_pin, privacy.lamp_live_pin}) == 4
    )
    assert privacy.purge_s == 60
    assert RUN.loop is None
    assert Journal().quota_bytes > Journal().disk_floor_bytes
    assert Health().report_s == 300


def test_a_secret_is_never_part_of_the_settings():
    camera = Camera(
        id="gate",
        name="Gate",
        kind=CameraKind.HTTP,
        source="http://10.0.0.1/",
        password=SecretRef(file="/p"),
    )
    assert {field.name for field in dataclasses.fields(SecretRef)} == {"file", "credential"}
    assert "SecretRef(file='/p'" in repr(camera)


def test_no_cable_with_48_volts_has_a_pair_to_spare():
    assert {name for name in CABLES if "poe" in name} == {
        name for name, spare in CABLES.items() if spare is SparePair.POE
    }
