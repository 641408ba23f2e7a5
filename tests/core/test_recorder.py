"""From a camera's address to the place where its recorder tells of lost video."""

from __future__ import annotations

import pytest

from edge_agent.core.recorder import Channel, Maker, channel_of, host_of

HIK = "/ISAPI/Event/notification/alertStream"
DAHUA = "/cgi-bin/eventManager.cgi?action=attach&codes=[VideoLoss]&heartbeat=5"


@pytest.mark.parametrize(
    ("source", "maker", "url", "number"),
    [
        (
            "http://10.0.0.9/ISAPI/Streaming/channels/101/picture",
            Maker.HIKVISION,
            "http://10.0.0.9" + HIK,
            1,
        ),
        (
            "https://10.0.0.9:8443/ISAPI/ContentMgmt/StreamingProxy/channels/1201/picture",
            Maker.HIKVISION,
            "https://10.0.0.9:8443" + HIK,
            12,
        ),
        (
            "rtsp://10.0.0.9:554/Streaming/Channels/202",
            Maker.HIKVISION,
            "http://10.0.0.9" + HIK,
            2,
        ),
        (
            "http://[fd00::9]:81/cgi-bin/snapshot.cgi?channel=3",
            Maker.DAHUA,
            "http://[fd00::9]:81" + DAHUA,
            3,
        ),
        (
            "rtsp://10.0.0.9/cam/realmonitor?subtype=0&channel=16",
            Maker.DAHUA,
            "http://10.0.0.9" + DAHUA,
            16,
        ),
    ],
)
def test_a_makers_address_tells_where_its_events_are(source, maker, url, number):
    assert channel_of(source) == Channel(maker=maker, url=url, number=number)


@pytest.mark.parametrize(
    "source",
    [
        "http://10.0.0.9/snap.jpg",
        "http://10.0.0.9/Streaming/Channels/01",
        "http://10.0.0.9/Streaming/Channels/001",
        "http://10.0.0.9/cgi-bin/snapshot.cgi?channels=3",
        "http://10.0.0.9/x?next=/Streaming/Channels/101",
        "rtsp://nvr.local/Streaming/Channels/101",
        "http://10.0.0.9/Streaming/Channels/101 /x",
        "/dev/video0",
        "",
    ],
)
def test_an_address_of_nobody_known_is_not_guessed(source):
    assert channel_of(source) is None


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("rtsp://10.0.0.9/1", "10.0.0.9"),
        ("rtsp://10.0.0.9:554/Streaming/Channels/202", "10.0.0.9"),
        ("http://NVR.local:8080/p.jpg", "nvr.local"),
        ("http://user@10.0.0.9/p.jpg?who=a@b", "10.0.0.9"),
        ("https://[fe80::1]:8443/p.jpg", "[fe80::1]"),
        ("/dev/video0", ""),
        ("/srv/clips/a", ""),
        ("", ""),
        ("rtsp://", ""),
    ],
)
def test_the_host_that_a_camera_is_read_at(source, host):
    assert host_of(source) == host
