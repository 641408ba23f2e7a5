"""`python -m tests.support.acker PORT`: the least hub there can be: takes every batch, and says how far it got. Keeps nothing.

For measuring a box alone. What a hub must do: docs/hub.md; the reference receiver is `edge-agent hub`.
"""

from __future__ import annotations

import re
import sys
import time

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_agent.core import wire

ACK_RECORDS = 1_000
ACK_S = 0.2
_EPOCH = b'"epoch":"'
_SEQ = re.compile(rb'"epoch":"([^"]+)","seq":"(\d+)"')


class Acker:
    """For one broker's boxes, whose records come in order, as a backlog does."""

    def __init__(self) -> None:
        self._upto: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._epoch = ""
        self._at = 0.0

    def take(self, client: Client, message: MQTTMessage) -> None:
        first = _SEQ.search(message.payload)
        last = _SEQ.match(message.payload, message.payload.rfind(_EPOCH))
        box = message.topic.rpartition("/")[0]
        upto = self._upto.get(box, 0)
        if first is None or last is None or not int(first[2]) <= upto + 1 <= int(last[2]):
            return  # news, or class 0 of the outage, which goes first: settled when all before it is here
        self._epoch = last[1].decode()
        self._upto[box] = int(last[2])
        self.tell(client, every=ACK_RECORDS)

    def tell(self, client: Client, *, every: int = 1) -> None:
        """The boxes of which so many records came since the last time, or any in the last moment."""
        now = time.monotonic()
        soon = now - self._at >= ACK_S
        for box, upto in self._upto.items():
            if upto - self._told.get(box, 0) >= (1 if soon else every):
                self._told[box], self._at = upto, now
                mark = wire.Watermark(epoch=self._epoch, upto=upto)
                client.publish(f"{box}/ack", wire.watermark(mark), qos=1, retain=True)


def main(port: int) -> None:
    acker = Acker()
    client = Client(CallbackAPIVersion.VERSION2, client_id="acker", protocol=MQTTv5)
    client.on_connect = lambda found, *_: found.subscribe(
        [("cctv/v1/+/+/+/+/live", 1), ("cctv/v1/+/+/+/+/history", 1)]
    )
    client.on_message = lambda found, _u, message: acker.take(found, message)
    client.connect("127.0.0.1", port)
    while client.loop(ACK_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
        acker.tell(client)


if __name__ == "__main__":
    main(int(sys.argv[1]))
