"""A hub in fifty lines: commits, dedupes, acknowledges, destroys what is taken back. docs/hub.md says what it leaves out."""

# fmt: off
import json, sqlite3, sys
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

sql = sqlite3.connect(sys.argv[3])
sql.executescript("""PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS record (box, epoch, seq INTEGER, type, boot, mono REAL, data, picture, PRIMARY KEY (box, epoch, seq));
CREATE TABLE IF NOT EXISTS span (box, epoch, first INTEGER, last INTEGER, PRIMARY KEY (box, epoch, first, last));
CREATE TABLE IF NOT EXISTS withdrawn (box, boot, asked, first REAL, last REAL, PRIMARY KEY (box, boot, asked));""")
GAPS = """SELECT below + 1, first - 1 FROM (SELECT first, COALESCE(MAX(last) OVER (ORDER BY first ROWS BETWEEN UNBOUNDED
PRECEDING AND 1 PRECEDING), 0) AS below FROM span WHERE box = ? AND epoch = ?) WHERE first > below + 1"""
DESTROY = """UPDATE record SET picture = NULL WHERE box = ? AND picture NOT NULL AND EXISTS (SELECT 1 FROM withdrawn w
WHERE w.box = record.box AND w.boot = record.boot AND record.mono BETWEEN w.first AND w.last)"""

def take(box, event, picture):
    epoch, seq, boot, mono, data = event["epoch"], int(event["seq"]), event["boot"], float(event["mono"]), event["data"]
    assert event["source"] == box, "a record of another box"
    sql.execute(f"INSERT OR IGNORE INTO record VALUES ({'?, ' * 7}?)", (box, epoch, seq, event["type"], boot, mono, json.dumps(data), picture))
    own = event["type"] in ("cctv.v1.journal.thinned", "cctv.v1.privacy.purged") and data.get("epoch", epoch) == epoch
    sql.executemany("INSERT OR IGNORE INTO span VALUES (?, ?, ?, ?)", [(box, epoch, *span) for span in [(seq, seq), *(own and data["ranges"] or ())]])
    if event["type"] == "cctv.v1.privacy.withdraw":
        newest = "SELECT COALESCE(MAX(mono), 0) FROM record WHERE box = ? AND boot = ? AND type LIKE 'cctv.v1.snapshot%'"
        (end,) = sql.execute(newest, (box, data["boot"])).fetchone()
        since = (data.get("from_s"), mono if data["boot"] == boot else 1e12)  # until that press, or the end of that boot
        asked = (data.get("from_s", "newest"), *((end - data["newest_s"], end) if "newest_s" in data else since))
        sql.execute("INSERT OR IGNORE INTO withdrawn VALUES (?, ?, ?, ?, ?)", (box, data["boot"], *asked))
    return epoch

def on_message(client, _, message):
    box, leaf, epochs = "/".join(message.topic.split("/")[:6]), message.topic.split("/")[6], []
    with sql:  # committed when this block ends; if it fails, nothing is acknowledged, and all of it comes again
        if leaf in ("live", "history"):
            epochs = [take(box, event, None) for event in json.loads(message.payload)]
        elif leaf == "snapshot":
            told = dict(message.properties.UserProperty)
            epochs = [take(box, told | {"data": json.loads(told["meta"])}, message.payload)]
        elif leaf == "presence" and (born := json.loads(message.payload))["state"] == "online" and born["epoch"]:
            epochs, oldest = [born["epoch"]], born["oldest_seq"] or 1
            sql.execute("INSERT OR IGNORE INTO span VALUES (?, ?, 0, ?)", (box, born["epoch"], oldest - 1))
        sql.execute(DESTROY, (box,))
    for epoch in set(epochs):
        gaps = sql.execute(GAPS, (box, epoch)).fetchall()
        (upto,) = sql.execute("SELECT MAX(last) FROM span WHERE box = ? AND epoch = ?", (box, epoch)).fetchone()
        with sql:  # what is whole is one row, or the next look at it would take longer each time
            whole = (box, epoch, gaps[0][0] - 1 if gaps else upto)
            sql.execute("DELETE FROM span WHERE box = ? AND epoch = ? AND last <= ?", whole)
            sql.execute("INSERT OR IGNORE INTO span VALUES (?, ?, 0, ?)", whole)
        mark = {"v": 1, "epoch": epoch, "upto": gaps[1000][0] - 1 if len(gaps) > 1000 else upto, "missing": gaps[:1000]}
        client.publish(f"{box}/ack", json.dumps(mark), qos=1, retain=True)

client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
client.on_connect, client.on_message = lambda client, *_: client.subscribe("cctv/v1/#", qos=1), on_message
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
