"""A work order as people read it: one screen, in Indonesian and in English.

Promises: each sheet says what is broken, since when, where, what was seen, what that means, what to bring, what to measure where
the box cannot tell, what residents may and may not do, and how the box will know that it is mended; it fits a screen of 24
lines of 78 characters whatever the names are; the bring-list has the length of the run with slack wherever a run may have to
be pulled anew. Indonesian is written for a technician and an RT secretary; both languages say the same.
Not its job: whether it is so (diagnosis.py), when it is said (work_order.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from edge_agent.core import words
from edge_agent.core.cable import metres_to_bring
from edge_agent.core.diagnosis import Cause, Diagnosis, Measure, Seen, Sign
from edge_agent.core.settings import Run
from edge_agent.core.words import Sentence

LINES_MAX: Final = 24
WIDTH: Final = 78
_NAME_MAX: Final = 36
_PLACE_MAX: Final = 110
_VALUE_MAX: Final = 40

# ---- what broke: its name, what it means, how the box sees that it is mended ----

_LOOP_AGAIN: Final = Sentence(
    "kabel pengawas terbaca normal 30 detik dan gambar baru datang; lalu pemandangan diperiksa sendiri.",
    "the supervised pair reads normal for 30 s and fresh pictures come; then the view is checked by itself.",
)
_VIDEO_AGAIN: Final = Sentence(
    "gambar baru datang terus selama 30 detik; lalu pemandangan diperiksa sendiri.",
    "fresh pictures come for 30 s; then the view is checked by itself.",
)
_LOOP_NEW: Final = Sentence(
    "kabel pengawas terbaca normal 30 detik dan gambar datang. Kabel baru dengan panjang lain: jalankan"
    " edge-agent commission {camera} --run.",
    "the supervised pair reads normal for 30 s and pictures come. After a cable of another length run"
    " edge-agent commission {camera} --run.",
)

_NAMES: Final[Mapping[Cause, Sentence]] = {
    Cause.CABLE_CUT: Sentence("kabel putus atau tercabut", "cable cut or unplugged"),
    Cause.CAMERA_UNPLUGGED: Sentence(
        "rumah steker dibuka, lalu kamera dicabut", "housing opened, then the camera unplugged"
    ),
    Cause.CAMERA_TAKEN: Sentence(
        "KAMERA DIPINDAHKAN: memberi gambar dari tempat lain",
        "CAMERA TAKEN AWAY: it gives pictures from elsewhere",
    ),
    Cause.CABLE_SHORT: Sentence("kabel korsleting", "cable shorted"),
    Cause.OTHER_LENGTH: Sentence(
        "kamera tersambung pada kabel dengan panjang lain",
        "camera hangs on a run of another length",
    ),
    Cause.PAIR_BROKEN: Sentence(
        "hanya kabel pengawas yang putus", "only the supervised pair is broken"
    ),
    Cause.CORRODED: Sentence("sambungan berkarat", "a joint corrodes"),
    Cause.DAMP: Sentence("kabel kemasukan air", "water in the cable"),
    Cause.LOOSE: Sentence("konektor longgar", "loose connector"),
    Cause.HOUSING_OPEN: Sentence(
        "rumah steker kamera dibuka", "housing of the camera's plug opened"
    ),
    Cause.NO_CAMERA_POWER: Sentence("kamera tanpa daya", "camera without power"),
    Cause.CAMERA_DEAD: Sentence("kamera rusak atau macet", "camera dead or hung"),
    Cause.PORT_DEAD: Sentence("masukan NVR rusak", "recorder's input dead"),
    Cause.LOST_PAIR: Sentence(
        "satu pasang kabel jaringan putus", "one pair of the network cable lost"
    ),
    Cause.CANNOT_TELL: Sentence("belum dapat dipastikan", "cannot tell yet"),
    Cause.CONDUIT_CUT: Sentence(
        "semua kabel putus bersamaan: pipa kabel atau papan terminal",
        "all cables at once: conduit or terminal board",
    ),
    Cause.POWER_DEAD: Sentence("catu daya 12 V kamera mati", "the cameras' 12 V supply is dead"),
    Cause.RECORDER_DEAD: Sentence("NVR mati atau terputus", "recorder dead or disconnected"),
    Cause.BOARD_FAULT: Sentence("papan masukan kotak rusak", "the box's input board is faulty"),
}

_MEANS: Final[Mapping[Cause, Sentence]] = {
    Cause.CABLE_CUT: Sentence(
        "Jalur kabel terputus di suatu tempat, atau stekernya tercabut di salah satu ujung. Periksa kedua ujung dahulu.",
        "The run is interrupted somewhere, or its plug is out at one end. Look at both ends first.",
    ),
    Cause.CAMERA_UNPLUGGED: Sentence(
        "Seseorang membuka rumah steker dan mencabut kamera. Kamera mungkin sudah tidak di tempatnya.",
        "Somebody opened the plug's housing and unplugged the camera. It may no longer be in its place.",
    ),
    Cause.CAMERA_TAKEN: Sentence(
        "Kamera tersambung di tempat lain, mungkin di rumah. Gambarnya ditahan; tidak seorang pun di luar melihatnya."
        " Cabut kameranya di sana lebih dahulu, lalu perbaiki kabelnya.",
        "The camera is plugged in somewhere else, perhaps in a home. Its pictures are held; nobody outside sees them."
        " Unplug it there first, then mend the cable.",
    ),
    Cause.CABLE_SHORT: Sentence(
        "Dua kawat bersentuhan paling jauh {at_m} m dari kotak. Potong dan sambung di sana, atau tarik ulang seluruhnya.",
        "Two wires touch at most {at_m} m from the box. Cut and join there, or pull the whole run anew.",
    ),
    Cause.OTHER_LENGTH: Sentence(
        "Sekarang terpasang kabel sekitar {now_m} m, bukan {length_m} m. Kamera dipindah, atau kabelnya diganti.",
        "About {now_m} m of cable hang there now instead of {length_m} m. The camera was moved, or its cable replaced.",
    ),
    Cause.PAIR_BROKEN: Sentence(
        "Gambar tidak pernah berhenti, jadi kameranya masih di kabelnya. Steker pengawas lepas atau satu pasang putus.",
        "Pictures never stopped, so the camera still hangs on its cable. The end plug is out, or one pair is broken.",
    ),
    Cause.CORRODED: Sentence(
        "Tahanan naik perlahan. Potong sambungan yang berkarat dan buat baru, kedap air; belum perlu kabel baru.",
        "The resistance creeps up. Cut out the corroded joint and make a new, sealed one; no new cable is needed yet.",
    ),
    Cause.DAMP: Sentence(
        "Arus bocor di antara kawat: air di sambungan atau kulit kabel terluka. Cari yang basah, keringkan dan tutup rapat.",
        "Current leaks between the wires: water in a joint, or a hurt sheath. Find the wet place, dry and seal it.",
    ),
    Cause.LOOSE: Sentence(
        "Sambungan goyah dan sebentar lagi lepas. Pasang ulang konektor di kedua ujung.",
        "A contact is shaky and will soon open. Make new connectors at both ends.",
    ),
    Cause.HOUSING_OPEN: Sentence(
        "Seseorang membuka rumah steker di kamera. Periksa siapa dan mengapa; tutup lagi.",
        "Somebody opened the housing at the camera. Find out who and why; close it again.",
    ),
    Cause.NO_CAMERA_POWER: Sentence(
        "Kabelnya utuh, tetapi kamera tidak mengambil daya: steker DC, kawat daya, adaptor atau sekringnya.",
        "The cable is whole, but the camera draws no power: its DC plug, power wires, adapter or fuse.",
    ),
    Cause.CAMERA_DEAD: Sentence(
        "Kamera mendapat daya dan tersambung, tetapi tidak memberi gambar. Cabut dayanya sepuluh detik; bila tetap, ganti.",
        "The camera has power and its connection, but gives no picture. Cut its power for ten seconds, else replace it.",
    ),
    Cause.PORT_DEAD: Sentence(
        "Gambar sampai di masukan NVR, tetapi NVR tidak memberikannya. Pindahkan ke masukan lain; mulai ulang NVR.",
        "The picture reaches the recorder's socket, but it passes none on. Use another input; restart the recorder.",
    ),
    Cause.LOST_PAIR: Sentence(
        "Kabel jaringan turun kecepatan karena satu pasang putus; gambar masih jalan. Buat ulang konektor, uji kabelnya.",
        "The network cable fell to a lower speed as one pair is lost; pictures still come. Redo the plugs, test the cable.",
    ),
    Cause.CANNOT_TELL: Sentence(
        "Gambar hilang, dan yang terpasang di jalur ini tidak cukup untuk memastikan sebabnya.",
        "The picture is gone, and what is fitted on this run is not enough to tell why.",
    ),
    Cause.CONDUIT_CUT: Sentence(
        "Semua jalur terbuka bersamaan. Periksa papan terminal di kotak dahulu; bila terpasang, pipa kabelnya putus.",
        "All runs opened at once. Look at the terminal board in the box first; if it is in, their conduit is cut.",
    ),
    Cause.POWER_DEAD: Sentence(
        "Kamera-kamera di bawah ini kehilangan 12 V bersamaan. Kabel jalan tidak diperlukan.",
        "All cameras fed by it lost their 12 V at once. No cable outside needs to be pulled.",
    ),
    Cause.RECORDER_DEAD: Sentence(
        "Tidak satu pun kamera di NVR itu menjawab. Periksa daya dan kabel jaringan NVR; kabel jalan tidak diperlukan.",
        "None of the cameras on that recorder answers. Check its power and network cable; no cable outside is needed.",
    ),
    Cause.BOARD_FAULT: Sentence(
        "Pemeriksaan diri papan gagal. Ini gangguan kotak, bukan kabel jalan; gambar diperiksa dengan cara lain.",
        "The board failed its self-test. That is a fault of the box, not of a cable; pictures are checked otherwise.",
    ),
}

_VERIFIED: Final[Mapping[Cause, Sentence]] = {
    **dict.fromkeys(Cause, _LOOP_AGAIN),
    **dict.fromkeys(
        (
            Cause.CABLE_CUT,
            Cause.CABLE_SHORT,
            Cause.CAMERA_TAKEN,
            Cause.OTHER_LENGTH,
            Cause.DAMP,
        ),
        _LOOP_NEW,
    ),
    **dict.fromkeys(
        (Cause.CORRODED, Cause.LOOSE),
        Sentence(
            "semuanya terbaca normal dan tenang selama sepuluh menit.",
            "all reads normal and steady for ten minutes.",
        ),
    ),
    **dict.fromkeys(
        (Cause.NO_CAMERA_POWER, Cause.CAMERA_DEAD, Cause.PORT_DEAD, Cause.RECORDER_DEAD),
        _VIDEO_AGAIN,
    ),
    Cause.CONDUIT_CUT: Sentence(
        "kabel pengawas terbaca normal lagi selama 30 detik; yang masih putus mendapat perintah sendiri.",
        "supervised pairs read normal again for 30 s; those still open get an order of their own.",
    ),
    Cause.LOST_PAIR: Sentence(
        "kecepatan jaringan kembali seperti semula selama sepuluh menit.",
        "the network is back at its old speed for ten minutes.",
    ),
    Cause.POWER_DEAD: Sentence(
        "12 V terbaca lagi selama 30 detik; lalu tiap kamera diperiksa sendiri.",
        "12 V reads present for 30 s; then each camera is checked by itself.",
    ),
    Cause.BOARD_FAULT: Sentence(
        "pemeriksaan diri papan berhasil selama 30 detik.",
        "the board passes its self-test for 30 s.",
    ),
}
# Without a loop nothing but the picture can say that a run is whole.
_LOOP_VERIFIED: Final = frozenset({_LOOP_AGAIN, _LOOP_NEW})

# ---- what was seen ----

_SEEN: Final[Mapping[Sign, Sentence]] = {
    Sign.LOOP_OPEN: Sentence("kabel pengawas terbuka", "supervised pair is open"),
    Sign.LOOP_SHORT: Sentence(
        "kabel pengawas korsleting, paling jauh {} m dari kotak",
        "supervised pair is shorted, at most {} m from the box",
    ),
    Sign.LOOP_SHORTER: Sentence(
        "kabel pengawas terbaca {} m, lebih pendek", "supervised pair reads {} m, shorter"
    ),
    Sign.LOOP_LONGER: Sentence(
        "kabel pengawas terbaca {} m, lebih panjang", "supervised pair reads {} m, longer"
    ),
    Sign.LOOP_LEAKS: Sentence(
        "tahanan kabel pengawas turun perlahan: {} ohm", "its resistance crept down: {} ohm"
    ),
    Sign.LOOP_HIGH: Sentence("tahanan kabel pengawas naik: {} ohm", "its resistance rose: {} ohm"),
    Sign.LOOP_HOUSING: Sentence("sakelar rumah steker terbuka", "the housing's switch is open"),
    Sign.LOOP_NOISY: Sentence("tahanan kabel pengawas goyah", "its resistance is unsteady"),
    Sign.LOOP_NIGHTS: Sentence(
        "tahanan malam hari naik {} ohm sejak malam pertama",
        "its resistance at night rose by {} ohm since the first night",
    ),
    Sign.LOOP_NORMAL: Sentence(
        "kabel pengawas normal: {} ohm", "supervised pair is normal: {} ohm"
    ),
    Sign.LOOP_UNREADABLE: Sentence(
        "kabel pengawas tidak terbaca: {}", "supervised pair unreadable: {}"
    ),
    Sign.LOOP_AFTER_HOUSING: Sentence(
        "sesaat sebelumnya rumah steker dibuka", "right before, the housing was opened"
    ),
    Sign.LOOP_TOGETHER: Sentence("terbuka bersamaan: {}", "opened at the same moment: {}"),
    Sign.VIDEO_LOST: Sentence("gambar hilang ({})", "no picture ({})"),
    Sign.VIDEO_BACK: Sentence(
        "gambar datang lagi sementara kabel belum utuh",
        "pictures came back while the cable is not whole",
    ),
    Sign.VIDEO_GOES_ON: Sentence("gambar tidak pernah berhenti", "pictures never stopped"),
    Sign.WIRE_SILENT: Sentence("tidak ada sinyal video di kabel", "no video signal on the wire"),
    Sign.WIRE_PICTURE: Sentence("ada sinyal video di kabel", "a video signal is on the wire"),
    Sign.ALARM: Sentence("kontak alarm NVR: gambar hilang", "recorder's alarm contact: video loss"),
    Sign.TOLD: Sentence("NVR melaporkan gambar hilang", "the recorder reports video loss"),
    Sign.NO_CURRENT: Sentence("kamera mengambil {} mA: mati", "the camera draws {} mA: off"),
    Sign.CURRENT: Sentence("kamera mengambil {} mA: hidup", "the camera draws {} mA: on"),
    Sign.POWER_GONE: Sentence("12 V di kotak tidak ada", "no 12 V at the box"),
    Sign.POWER_THERE: Sentence("12 V di kotak ada", "12 V is present at the box"),
    Sign.LINK_DOWN: Sentence("sambungan jaringan putus", "the network link is down"),
    Sign.LINK_UP: Sentence("sambungan jaringan ada", "the network link is up"),
    Sign.LINK_SLOW: Sentence(
        "kecepatan jaringan turun: {} Mbit/s", "network speed fell: {} Mbit/s"
    ),
    Sign.LINK_ERRORS: Sentence(
        "{} paket rusak dalam lima menit", "{} damaged packets within five minutes"
    ),
    Sign.LINK_DROPS: Sentence(
        "jaringan putus {} kali dalam lima menit", "the link dropped {} times within five minutes"
    ),
    Sign.ALL_LOST: Sentence("tidak satu pun menjawab: {}", "none of them answers: {}"),
    Sign.OTHERS_FINE: Sentence("{} kamera lain di NVR itu baik", "{} other cameras there are fine"),
}

_MEASURES: Final[Mapping[Measure, Sentence]] = {
    Measure.MONITOR: Sentence(
        "lihat gambarnya di layar NVR", "look for the picture on the recorder's screen"
    ),
    Measure.SWAP_PORT: Sentence("tukar masukan NVR", "swap the recorder's inputs"),
    Measure.PORT_LIGHT: Sentence(
        "lampu port di switch/injektor PoE", "port light at the switch or PoE injector"
    ),
    Measure.VOLTS_AT_CAMERA: Sentence(
        "tegangan di steker kamera (12 V)", "voltage at the camera's plug (12 V)"
    ),
    Measure.LOOP_OHM: Sentence(
        "ohm kabel pengawas di terminal", "ohms of the supervised pair at the terminals"
    ),
    Measure.CABLE_TESTER: Sentence("penguji kabel di kedua ujung", "cable tester at both ends"),
    Measure.TEST_MONITOR: Sentence(
        "monitor uji langsung di kamera", "test monitor right at the camera"
    ),
}

RT_RULES: Final = Sentence(
    "Jangan bawa pulang kamera; biarkan di tempatnya, kami yang datang. Jangan panjat, cabut, potong atau"
    " sambung apa pun. Boleh melihat dari bawah, memotret, dan menjauhkan orang dari kabel jatuh.",
    "Do not take the camera home; leave it, we come. Do not climb, unplug, cut or join anything. You may look"
    " from below, take photos, and keep people away from a fallen cable.",
)

# ---- what to bring ----

_LADDER: Final = Sentence("tangga (kamera di tiang)", "a ladder (camera on its pole)")
_METER: Final = Sentence("multimeter", "a multimeter")
_SEAL: Final = Sentence("isolasi kedap air dan gel", "self-sealing tape and gel")
_CRIMP: Final = Sentence("tang krimping", "a crimping tool")
_TESTER: Final = Sentence("penguji kabel", "a cable tester")
_END_PLUG: Final = Sentence(
    "1 steker ujung untuk kabel pengawas", "1 end plug for the supervised pair"
)
_SPARE_POWER: Final = Sentence("catu daya 12 V cadangan", "a spare 12 V supply")
_FUSES: Final = Sentence("sekring", "fuses")
_SPARE_CAMERA: Final = Sentence("kamera cadangan sejenis", "a spare camera of the same kind")
_TEST_MONITOR: Final = Sentence("monitor uji", "a test monitor")
_SPARE_NVR: Final = Sentence("NVR cadangan", "a spare recorder")
_NETWORK_LEAD: Final = Sentence("kabel jaringan pendek", "a short network cable")
_SPARE_BOARD: Final = Sentence("papan masukan cadangan (ADC)", "a spare input board (ADC)")
_CONNECTORS: Final = Sentence("konektor baru untuk kedua ujung", "new connectors for both ends")
_SCREWS: Final = Sentence("sekrup dan segel rumah steker", "screws and seal for the housing")

_REPULL: Final = frozenset(
    {
        Cause.CABLE_CUT,
        Cause.CAMERA_UNPLUGGED,
        Cause.CAMERA_TAKEN,
        Cause.CABLE_SHORT,
        Cause.OTHER_LENGTH,
        Cause.PAIR_BROKEN,
        Cause.DAMP,
        Cause.LOST_PAIR,
        Cause.CANNOT_TELL,
        Cause.CONDUIT_CUT,
    }
)
_PARTS: Final[Mapping[Cause, tuple[Sentence, ...]]] = {
    Cause.CORRODED: (_CONNECTORS, _END_PLUG, _SEAL, _CRIMP, _METER, _LADDER),
    Cause.LOOSE: (_CONNECTORS, _SEAL, _CRIMP, _TESTER, _LADDER),
    Cause.HOUSING_OPEN: (_SCREWS, _END_PLUG, _LADDER),
    Cause.NO_CAMERA_POWER: (_SPARE_POWER, _FUSES, _METER, _CONNECTORS, _LADDER),
    Cause.CAMERA_DEAD: (_SPARE_CAMERA, _TEST_MONITOR, _METER, _LADDER),
    Cause.PORT_DEAD: (_SPARE_NVR, _TEST_MONITOR, _CONNECTORS),
    Cause.POWER_DEAD: (_SPARE_POWER, _FUSES, _METER),
    Cause.RECORDER_DEAD: (_SPARE_NVR, _NETWORK_LEAD, _METER),
    Cause.BOARD_FAULT: (_SPARE_BOARD, _METER),
    # beside the cable
    Cause.DAMP: (_SEAL, _METER),
    Cause.CANNOT_TELL: (_SPARE_POWER, _METER),
    Cause.CABLE_SHORT: (_SEAL,),
}


def name(cause: Cause) -> Sentence:
    """What broke, in a few words."""
    return _NAMES[cause]


def metres(cameras: Sequence[str], runs: Mapping[str, Run]) -> int:
    """Metres of cable to bring for all these runs; 0 = none of them is known."""
    return sum(metres_to_bring(runs[camera].length_m) for camera in cameras if camera in runs)


def bring(told: Diagnosis, runs: Mapping[str, Run]) -> tuple[Sentence, ...]:
    """What a technician takes along, most important first."""
    parts = _PARTS.get(told.cause, ())
    if told.cause not in _REPULL:
        looped = any(runs[camera].loop is not None for camera in told.cameras if camera in runs)
        return tuple(part for part in parts if looped or part is not _END_PLUG)
    kinds: dict[str, list[str]] = {}
    for camera in told.cameras:
        kinds.setdefault(runs[camera].cable if camera in runs else "", []).append(camera)
    items: list[Sentence] = []
    for cable, cameras in kinds.items():
        total = metres(cameras, runs)
        looped = any(runs[camera].loop is not None for camera in cameras if camera in runs)
        items += words.bring(cable, str(total) if total else "", end_plug=looped)
    if len(told.cameras) > 1:
        lengths = ", ".join(
            f"{_clean(camera, 12)} {metres_to_bring(runs[camera].length_m)} m"
            for camera in told.cameras
            if camera in runs
        )
        items.insert(1, Sentence(f"per jalur: {lengths}", f"by run: {lengths}"))
    return tuple(dict.fromkeys((*items, *parts)))


# ---- the sheet ----


def where(told: Diagnosis, runs: Mapping[str, Run]) -> tuple[str, str]:
    """Place of the camera's end in words, and as a geo: URI that a telephone opens in its map; "" = not known."""
    run = runs.get(told.cameras[0]) if len(told.cameras) == 1 else None
    if run is None or ":" in told.subject:
        return "", ""
    geo = "" if run.gps is None else f"geo:{run.gps[0]:.5f},{run.gps[1]:.5f}"
    return run.place, geo


def ago(seconds: float) -> Sentence:
    """A span of time, as coarse as people say it."""
    whole = max(0, int(seconds))
    steps = (
        (86_400, "hari", "days", "day"),
        (3_600, "jam", "hours", "hour"),
        (60, "menit", "minutes", "minute"),
    )
    size, native, many, one = next(
        (step for step in steps if whole >= step[0]), (1, "detik", "seconds", "second")
    )
    count = whole // size
    return Sentence(f"{count} {native}", f"{count} {one if count == 1 else many}")


def sheet(
    order: str,
    told: Diagnosis,
    *,
    since_s: float,
    names: Mapping[str, str],
    runs: Mapping[str, Run],
) -> Sentence:
    """The whole order, at most `LINES_MAX` lines of `WIDTH` characters. *since_s*: how long it has been so."""
    return Sentence(
        id=_sheet(order, told, since_s, names, runs, english=False),
        en=_sheet(order, told, since_s, names, runs, english=True),
    )


def _sheet(
    order: str,
    told: Diagnosis,
    since_s: float,
    names: Mapping[str, str],
    runs: Mapping[str, Run],
    *,
    english: bool,
) -> str:
    def say(sentence: Sentence) -> str:
        return sentence.en if english else sentence.id

    title = f"{say(_TITLE)} {order}: {_subject(told, names, english=english)}"
    place, geo = where(told, runs)
    site = " ".join(part for part in (_clean(place, _PLACE_MAX), geo) if part)
    since = Sentence(
        f"{ago(since_s).id} sebelum catatan ini", f"{ago(since_s).en} before this record"
    )
    blocks = [
        _line(title),
        _block(say(_CAUSE), say(_NAMES[told.cause])),
        _block(say(_SINCE), say(since)),
        _block(say(_PLACE), site or say(_AT_BOX if ":" in told.subject else _NO_PLACE)),
    ]
    tail = [
        _block(say(_MEANING), _meaning(told, runs, english=english)),
        _block(say(_BRING), ", ".join(say(item) for item in bring(told, runs))),
        *_measures(told, english=english),
        _block(say(_RESIDENTS), say(RT_RULES)),
        _block(say(_DONE), _verified(told, runs, english=english)),
    ]
    fixed = [line for block in (*blocks, *tail) for line in block]
    room = max(1, LINES_MAX - len(fixed))
    seen = [
        _line(f"{say(_SEEN_LABEL)} {_evidence(item, english=english)}")[:1] for item in told.seen
    ]
    lines = [line for block in blocks for line in block]
    lines += [line for block in seen[:room] for line in block]
    lines += [line for block in tail for line in block]
    return "\n".join(lines[:LINES_MAX])


_TITLE: Final = Sentence("PERINTAH KERJA", "WORK ORDER")
_CAUSE: Final = Sentence("Sebab:", "Cause:")
_SINCE: Final = Sentence("Sejak:", "Since:")
_PLACE: Final = Sentence("Tempat:", "Place:")
_SEEN_LABEL: Final = Sentence("Terlihat:", "Seen:")
_MEANING: Final = Sentence("Artinya:", "Means:")
_BRING: Final = Sentence("Bawa:", "Bring:")
_MEASURE: Final = Sentence("Ukur:", "Measure:")
_RESIDENTS: Final = Sentence("RT:", "RT:")
_DONE: Final = Sentence("Selesai:", "Done when:")
_AT_BOX: Final = Sentence("di kotak", "at the box")
_NO_PLACE: Final = Sentence(
    "tidak tercatat (tulis place dan gps di box.toml)",
    "not recorded (write place and gps into box.toml)",
)


def _subject(told: Diagnosis, names: Mapping[str, str], *, english: bool) -> str:
    if ":" not in told.subject:
        name = _clean(names.get(told.subject, ""), _NAME_MAX)
        camera = _clean(told.subject, _NAME_MAX)
        return f"{name} ({camera})" if name and name != camera else camera
    count = len(told.cameras)
    return f"{count} cameras" if english else f"{count} kamera"


def _meaning(told: Diagnosis, runs: Mapping[str, Run], *, english: bool) -> str:
    run = runs.get(told.cameras[0]) if told.cameras else None
    template = _MEANS[told.cause].en if english else _MEANS[told.cause].id
    return template.format(
        at_m="?" if told.at_m is None else f"{told.at_m:.0f}",
        now_m="?" if told.length_m is None else f"{told.length_m:.0f}",
        length_m="?" if run is None else f"{run.length_m:g}",
    )


def _measures(told: Diagnosis, *, english: bool) -> list[list[str]]:
    if not told.measure:
        return []
    said = (_MEASURES[measure] for measure in told.measure)
    steps = (sentence.en if english else sentence.id for sentence in said)
    text = "; ".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    return [_block(_MEASURE.en if english else _MEASURE.id, text)]


def _verified(told: Diagnosis, runs: Mapping[str, Run], *, english: bool) -> str:
    sentence = _VERIFIED[told.cause]
    looped = any(runs[camera].loop is not None for camera in told.cameras if camera in runs)
    if sentence in _LOOP_VERIFIED and not looped:
        sentence = _VIDEO_AGAIN
    text = sentence.en if english else sentence.id
    return text.format(camera=_clean(told.subject, 48))


def _evidence(seen: Seen, *, english: bool) -> str:
    template = _SEEN[seen.sign].en if english else _SEEN[seen.sign].id
    return template.format(_clean(seen.value, _VALUE_MAX) or "?")


def _line(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ") or [""]


def _block(label: str, text: str) -> list[str]:
    return _line(f"{label} {text}")


def _clean(text: str, longest: int) -> str:
    """One line, short, nothing that a terminal or a web page would obey."""
    plain = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"
