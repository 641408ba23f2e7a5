"""What people read: one sentence per finding, and one notice per state for the portal, in Indonesian and English.

Promises: each finding says what was seen, what that means and what to do or bring; evidence that is missing or odd never
raises and never leaves a hole; no text repeats more than one short line of what a camera or a hub sent.
Indonesian is written for an RT secretary, English for whoever reads along; both say the same.
Not its job: whether it is so (health.py, scene.py, cable.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import FindingKey

if TYPE_CHECKING:
    from edge_agent.core.messages import Json

DETAIL_MAX: Final = 160  # characters of a technical detail; one line on a phone held sideways


@dataclass(frozen=True, slots=True)
class Sentence:
    """The same in Indonesian and English."""

    id: str
    en: str


@dataclass(frozen=True, slots=True)
class _Cable:
    """A type of cable by name, and what goes onto its ends."""

    name: Sentence
    parts: tuple[Sentence, ...]


_RJ45 = (Sentence("konektor RJ45", "RJ45 plugs"),)
_RJ45_BALUN = (*_RJ45, Sentence("sepasang balun video", "a pair of video baluns"))
_BNC = (Sentence("konektor BNC", "BNC plugs"),)
_BNC_POWER = (*_BNC, Sentence("konektor daya DC", "DC power plugs"))
_BNC_PAIR = (
    *_BNC,
    Sentence("kabel dua inti sepanjang itu juga", "two-core wire of the same length"),
)
_ANY_PLUGS = (Sentence("konektornya", "plugs for it"),)
_END_PLUG = Sentence("1 steker ujung untuk kabel pengawas", "1 end plug for the supervised pair")
_TOOLS = (
    Sentence("tang krimping", "a crimping tool"),
    Sentence("penguji kabel", "a cable tester"),
    Sentence("tangga", "a ladder"),
)
_CABLES: Final[Mapping[str, _Cable]] = {
    "cat5e-outdoor": _Cable(Sentence("kabel Cat5e luar ruang", "outdoor Cat5e cable"), _RJ45_BALUN),
    "cat6-outdoor": _Cable(Sentence("kabel Cat6 luar ruang", "outdoor Cat6 cable"), _RJ45_BALUN),
    "cat5e-poe": _Cable(
        Sentence("kabel Cat5e luar ruang (PoE)", "outdoor Cat5e cable (PoE)"), _RJ45
    ),
    "cat6-poe": _Cable(Sentence("kabel Cat6 luar ruang (PoE)", "outdoor Cat6 cable (PoE)"), _RJ45),
    "rg59": _Cable(Sentence("kabel koaksial RG59", "RG59 coaxial cable"), _BNC),
    "rg59-power": _Cable(
        Sentence("kabel koaksial RG59 dengan kabel daya", "RG59 coaxial cable with power pair"),
        _BNC_POWER,
    ),
    "rg59-pair": _Cable(Sentence("kabel koaksial RG59", "RG59 coaxial cable"), _BNC_PAIR),
}

_DO_NOT_TAKE = Sentence(
    "Jangan bawa pulang kamera; biarkan di tempatnya, kami yang datang.",
    "Do not take the camera home; leave it, we come.",
)

_SEE_ORDER: Final = Sentence(
    "Apa yang dibawa dan dikerjakan ada di perintah kerjanya.",
    "What to bring and do stands in its work order.",
)

WORDS: Final[Mapping[FindingKey, Sentence]] = {
    FindingKey.CAMERA_NO_ANSWER: Sentence(
        "{camera} tidak menjawab{why}. Kabel, catu daya atau kameranya sendiri mungkin mati. "
        "Lihat lampu kamera dan colokannya; bawa catu daya cadangan, penguji kabel dan tangga.",
        "{camera} does not answer{why}. Its cable, its power or the camera itself may be dead. "
        "Look at its light and plugs; bring a spare power supply, a cable tester and a ladder.",
    ),
    FindingKey.CAMERA_REFUSED: Sentence(
        "{camera} menolak sambungan{why}. Kameranya hidup, tetapi layanan videonya mati atau memakai port lain. "
        "Periksa pengaturan RTSP/HTTP kamera dan alamatnya di box.toml, lalu nyalakan ulang kamera.",
        "{camera} refuses the connection{why}. It is alive, but its video service is off or on another port. "
        "Check the camera's RTSP/HTTP setting and its address in box.toml, then restart the camera.",
    ),
    FindingKey.CAMERA_UNREACHABLE: Sentence(
        "Tidak ada jalan jaringan ke {camera}{why}. Kabel jaringan kotak, switch atau NVR mungkin lepas. "
        "Periksa colokan dan lampu port di kotak, lalu alamat IP-nya di box.toml.",
        "There is no network path to {camera}{why}. The network cable of the box, the switch or the NVR may be unplugged. "
        "Check plugs and port lights at the box, then the IP address in box.toml.",
    ),
    FindingKey.CAMERA_UNAUTHORISED: Sentence(
        "{camera} menolak nama pengguna atau kata sandi{why}. Kotak mencoba lagi hanya tiap 15 menit agar akun tidak terkunci. "
        "Tulis kata sandi yang benar di berkas yang disebut di box.toml, atau pulihkan akun itu di kamera.",
        "{camera} refuses the user name or the password{why}. The box tries again only every 15 minutes, so that the account is "
        "not locked. Write the right password into the file named in box.toml, or restore the account in the camera.",
    ),
    FindingKey.CAMERA_NOT_FOUND: Sentence(
        "{camera} menjawab, tetapi tidak mengenal alamat gambarnya{why}. Jalur atau nomor kanal di box.toml salah. "
        "Cocokkan url atau preset dengan buku petunjuk kamera.",
        "{camera} answers, but does not know the address of its picture{why}. Path or channel in box.toml is wrong. "
        "Compare url or preset with the camera's manual.",
    ),
    FindingKey.CAMERA_REDIRECTED: Sentence(
        "{camera} mengalihkan ke alamat lain{why}. Kotak tidak mengikutinya, karena tujuannya tidak dapat dipastikan. "
        "Tulis alamat akhirnya di box.toml, biasanya dengan https://.",
        "{camera} sends us to another address{why}. The box does not follow, as nobody knows where that leads. "
        "Write the final address into box.toml, usually with https://.",
    ),
    FindingKey.CAMERA_NONSENSE: Sentence(
        "Di alamat {camera} ada yang menjawab, tetapi bukan kamera jenis ini{why}. Alamat atau jenisnya (kind) salah, "
        "atau alat lain memakai alamat itu. Periksa alamat IP dan kind di box.toml.",
        "Something answers at the address of {camera}, but no camera of this kind{why}. Address or kind is wrong, "
        "or another device took the address. Check the IP address and kind in box.toml.",
    ),
    FindingKey.CAMERA_NOT_A_PICTURE: Sentence(
        "{camera} mengirim sesuatu yang bukan gambar utuh{why}. Biasanya halaman kesalahan, atau sambungan yang buruk. "
        "Buka alamatnya di peramban; periksa kabel dan colokannya.",
        "{camera} sends something that is no whole picture{why}. Usually that is an error page, or a bad connection. "
        "Open its address in a browser; check cable and plugs.",
    ),
    FindingKey.CAMERA_TOO_LARGE: Sentence(
        "{camera} mengirim gambar yang terlalu besar untuk kotak{why}. Gambar itu ditolak agar kamera lain tetap berjalan. "
        "Atur kamera ke 1920x1080 atau lebih kecil.",
        "{camera} sends pictures too large for the box{why}. They are refused so that the other cameras go on. "
        "Set the camera to 1920x1080 or less.",
    ),
    FindingKey.CAMERA_STALLED: Sentence(
        "{camera} tersambung, tetapi tidak ada gambar baru{why}. Kameranya macet atau jaringannya lemah. "
        "Cabut daya kamera sepuluh detik; bila terulang, uji kabelnya.",
        "{camera} is connected, but no new picture comes{why}. It hangs, or its network is weak. "
        "Unplug its power for ten seconds; if it happens again, test the cable.",
    ),
    FindingKey.CAMERA_STALE: Sentence(
        "{camera} mengirim gambar lama atau gambar yang sama{why}. Gambar itu tidak dianggap keadaan sekarang. "
        "Nyalakan ulang kamera atau NVR; periksa beban jaringannya.",
        "{camera} sends old or repeated pictures{why}. They are not passed off as now. "
        "Restart the camera or the NVR; check the load of its network.",
    ),
    FindingKey.CAMERA_NO_DEVICE: Sentence(
        "{camera} tidak terpasang di kotak{why}. Kabel USB lepas atau alatnya rusak. "
        "Colokkan kembali; bila tetap hilang, bawa kamera dan kabel USB pengganti.",
        "{camera} is not attached to the box{why}. Its USB cable is out, or the device is broken. "
        "Plug it in again; if it stays away, bring a spare USB camera and cable.",
    ),
    FindingKey.CAMERA_CRASHES: Sentence(
        "Aliran {camera} membuat pembacanya macet{why}. Kamera ini dibaca terpisah agar yang lain tidak terganggu. "
        "Atur ke H.264 biasa tanpa mode pintar (H.264+/H.265+), dan perbarui firmware-nya.",
        "The stream of {camera} crashes or hangs its reader{why}. It is read apart, so that the others are not disturbed. "
        "Set it to plain H.264 without smart mode (H.264+/H.265+), and update its firmware.",
    ),
    FindingKey.CAMERA_FLAPPING: Sentence(
        "Gambar {camera} hilang dan kembali terus-menerus{why}. Biasanya steker longgar, catu daya lemah atau jaringan penuh. "
        "Goyangkan tiap steker satu per satu sambil melihat gambarnya; bawa konektor baru, catu daya cadangan dan tangga.",
        "The picture of {camera} comes and goes{why}. Usually a plug is loose, its power weak or its network full. "
        "Move each plug in turn and watch the picture; bring new connectors, a spare power supply and a ladder.",
    ),
    FindingKey.VIEW_NOT_COMMISSIONED: Sentence(
        "Pemandangan {camera} belum didaftarkan. Sebelum itu tidak ada gambarnya yang keluar. "
        "Setelah kamera terpasang benar di jalan, jalankan edge-agent commission di kotak.",
        "The view of {camera} is not commissioned. Until then none of its pictures leaves the box. "
        "When it hangs right on its street, run edge-agent commission at the box.",
    ),
    FindingKey.VIEW_FOREIGN: Sentence(
        "{camera} memperlihatkan tempat yang bukan pemandangannya. Mungkin dipindah, atau sedang berada di rumah seseorang. "
        f"Gambarnya ditahan; tidak seorang pun di luar melihatnya. Cari kameranya. {_DO_NOT_TAKE.id}",
        "{camera} shows a place that is not its view. It may have been moved, or be in somebody's home. "
        f"Its pictures are held; nobody outside sees them. Find the camera. {_DO_NOT_TAKE.en}",
    ),
    FindingKey.VIEW_MOVED: Sentence(
        "Pemandangan {camera} bergeser: yang tampak kini {shift}. Gambarnya ditahan. Putar kamera ke arah yang sama "
        "sampai kembali seperti semula; bila arah baru memang disengaja, daftarkan ulang dengan edge-agent commission. "
        "Bawa tangga dan kunci penyetel.",
        "The view of {camera} moved: what it shows lies {shift}. Its pictures are held. Turn the camera the same way until "
        "all is back in place; if the new view is meant, run edge-agent commission again. Bring a ladder and a spanner.",
    ),
    FindingKey.VIEW_DARK: Sentence(
        "Gambar {camera} terlalu gelap untuk dikenali. Lampu jalan atau lampu inframerahnya mungkin mati. "
        "Bila tetap gelap pada siang hari, periksa lensanya; malam hari, periksa lampunya.",
        "The picture of {camera} is too dark to recognise anything. The street light or its infrared light may be out. "
        "If it stays dark by day, check the lens; at night, check the lights.",
    ),
    FindingKey.VIEW_COVERED: Sentence(
        "{camera} tertutup: hampir tidak ada yang tampak. Mungkin kantong, cat, daun atau sarang laba-laba. "
        "Bersihkan lensanya; bawa lap dan tangga.",
        "{camera} is covered: next to nothing can be seen. It may be a bag, paint, leaves or a spider's web. "
        "Clean its lens; bring a cloth and a ladder.",
    ),
    FindingKey.VIEW_BLURRED: Sentence(
        "Gambar {camera} jauh lebih kabur daripada saat didaftarkan. Lensanya kotor, berembun atau fokusnya berubah. "
        "Bersihkan dan setel lensanya; bawa lap dan tangga.",
        "The picture of {camera} is far more blurred than when it was commissioned. Its lens is dirty, damp or out of focus. "
        "Clean and adjust the lens; bring a cloth and a ladder.",
    ),
    FindingKey.VIEW_FROZEN: Sentence(
        "Gambar {camera} tidak berubah sama sekali. Kameranya macet, atau ada yang memutar rekaman. "
        "Cabut daya kamera sepuluh detik; bila terulang, periksa NVR-nya.",
        "The picture of {camera} does not change at all. It hangs, or something plays a recording. "
        "Unplug its power for ten seconds; if it happens again, check the NVR.",
    ),
    FindingKey.VIEW_UNSURE: Sentence(
        "Tidak dapat dipastikan bahwa {camera} memperlihatkan jalannya (hujan, silau, truk parkir, gambar rusak). "
        "Gambarnya ditahan sampai pasti. Tidak perlu apa-apa dulu; bila berlangsung sehari, daftarkan ulang pemandangannya.",
        "It cannot be told whether {camera} shows its street (rain, glare, a parked lorry, damaged pictures). Its pictures are held "
        "until it is certain. Nothing to do yet; if it lasts a day, commission its view again.",
    ),
    FindingKey.VIEW_NUDGED: Sentence(
        "{camera} bergeser sedikit: yang tampak kini {shift}. Jalannya masih tampak dan gambarnya tetap disiarkan. "
        "Setel kembali ke arah yang sama dan kencangkan dudukannya pada kunjungan berikut; "
        "bila terus bergeser, gambarnya akan ditahan.",
        "{camera} has shifted a little: what it shows lies {shift}. It is still its street and its pictures are released. "
        "Turn it the same way and tighten its mount at the next visit; if it goes on shifting, its pictures will be held.",
    ),
    FindingKey.VIEW_PARTLY_COVERED: Sentence(
        "Sebagian pemandangan {camera} tertutup{percent_covered}. Mungkin daun, spanduk, sarang laba-laba atau kotoran di lensa. "
        "Bersihkan lensanya dan singkirkan penghalangnya; bawa lap dan tangga.",
        "A part of the view of {camera} is covered{percent_covered}. It may be leaves, a banner, a spider's web or dirt on the "
        "lens. Clean its lens and clear what stands before it; bring a cloth and a ladder.",
    ),
    FindingKey.VIEW_FILE_DAMAGED: Sentence(
        "Pemandangan {camera} yang tersimpan tidak dapat dipakai{why}. Gambarnya ditahan. "
        "Daftarkan ulang di kotak dengan edge-agent commission.",
        "The commissioned view of {camera} cannot be used{why}. Its pictures are held. "
        "Commission it again at the box with edge-agent commission.",
    ),
    FindingKey.VIEW_OTHER_DEVICE: Sentence(
        "{camera} bukan alat yang didaftarkan{why}. Gambarnya ditahan. Bila kamera atau pengaturannya memang diganti, "
        "daftarkan ulang di kotak dengan edge-agent commission.",
        "{camera} is not the device that was commissioned{why}. Its pictures are held. If the camera or its settings were "
        "changed on purpose, commission it again at the box with edge-agent commission.",
    ),
    FindingKey.CABLE_OPEN: Sentence(
        "Kabel ke {camera} di {place} putus atau tercabut. Gambarnya ditahan, kecuali aturan kotak lain. "
        f"{_SEE_ORDER.id} {_DO_NOT_TAKE.id}",
        "The cable to {camera} at {place} is cut or unplugged. Its pictures are held unless the box is set otherwise. "
        f"{_SEE_ORDER.en} {_DO_NOT_TAKE.en}",
    ),
    FindingKey.CABLE_SHORT: Sentence(
        "Kabel ke {camera} di {place} korsleting{short_at_m}. Gambarnya ditahan, kecuali aturan kotak lain. "
        f"{_SEE_ORDER.id} {_DO_NOT_TAKE.id}",
        "The cable to {camera} at {place} is shorted{short_at_m}. Its pictures are held unless the box is set otherwise. "
        f"{_SEE_ORDER.en} {_DO_NOT_TAKE.en}",
    ),
    FindingKey.CABLE_OTHER_LENGTH: Sentence(
        "{camera} tersambung pada kabel yang panjangnya lain daripada saat didaftarkan{length_now_m}: kamera dipindah, atau "
        "kabelnya diganti. Gambarnya ditahan. Cari kameranya; bila kabelnya memang diganti, jalankan "
        f"edge-agent commission --run di kotak. {_DO_NOT_TAKE.id}",
        "{camera} hangs on a cable of another length than was commissioned{length_now_m}: it was moved, or its cable replaced. "
        "Its pictures are held. Find the camera; if the cable was replaced on purpose, run edge-agent commission --run at the "
        f"box. {_DO_NOT_TAKE.en}",
    ),
    FindingKey.CABLE_CORRODED: Sentence(
        "Tahanan kabel {camera} di {place} berubah perlahan: sambungan berkarat atau kemasukan air. "
        f"Gambarnya ditahan, kecuali aturan kotak lain. {_SEE_ORDER.id}",
        "The resistance of the cable to {camera} at {place} changes slowly: a joint corrodes, or water is in it. "
        f"Its pictures are held unless the box is set otherwise. {_SEE_ORDER.en}",
    ),
    FindingKey.CABLE_HOUSING_OPEN: Sentence(
        "Rumah steker {camera} di {place} dibuka. Gambarnya ditahan. Periksa siapa dan mengapa, lalu tutup lagi. "
        f"{_DO_NOT_TAKE.id}",
        "The plug's housing of {camera} at {place} was opened. Its pictures are held. Find out who and why, then close it. "
        f"{_DO_NOT_TAKE.en}",
    ),
    FindingKey.CABLE_LOOSE: Sentence(
        "Sambungan kabel {camera} di {place} goyah dan sebentar lagi lepas. Gambarnya masih disiarkan selama kabelnya terbaca "
        f"utuh. {_SEE_ORDER.id}",
        "A contact in the cable to {camera} at {place} is shaky and will soon open. Its pictures are still released while the "
        f"cable reads whole. {_SEE_ORDER.en}",
    ),
    FindingKey.CABLE_NOT_COMMISSIONED: Sentence(
        "Kabel pengawas {camera} belum didaftarkan{why}. Sampai itu selesai, pemandangannya diperiksa lebih ketat. "
        "Jalankan edge-agent commission --run di kotak, dengan steker ujung dan pita ukur.",
        "The supervised pair of {camera} is not commissioned{why}. Until then its view is checked more strictly. "
        "Run edge-agent commission --run at the box, with the end plug and a tape measure.",
    ),
    FindingKey.CABLE_UNREADABLE: Sentence(
        "Kabel pengawas {camera} tidak terbaca{why}. Ini gangguan kotak, bukan kabel jalan. "
        "Periksa terminal dan papan masukan di dalam kotak; pemandangannya diperiksa lebih ketat sampai terbaca lagi.",
        "The supervised pair of {camera} cannot be read{why}. That is a fault of the box, not of the cable outside. "
        "Check terminals and input board within the box; until then its view is checked more strictly.",
    ),
    FindingKey.CABLE_CAMERA_TAKEN: Sentence(
        "{camera} memberi gambar lagi padahal kabelnya di {place} belum utuh: kameranya tersambung di tempat lain, "
        f"mungkin di rumah. Gambarnya ditahan; tidak seorang pun di luar melihatnya. Cabut kameranya di sana. {_DO_NOT_TAKE.id}",
        "{camera} gives a picture again while its cable at {place} is not whole: it is plugged in somewhere else, perhaps in a "
        f"home. Its pictures are held; nobody outside sees them. Unplug it there. {_DO_NOT_TAKE.en}",
    ),
    FindingKey.PRIVACY_WIRING: Sentence(
        "Kabel tombol privasi salah atau rusak{why}. Semua kamera tetap dimatikan untuk luar. "
        "Periksa steker tombol; bawa blok kontak cadangan dan multimeter. Setelah itu tekan dan lepas tombol sekali.",
        "The wiring of the privacy switch is wrong or damaged{why}. All cameras stay private. "
        "Check the switch's plug; bring a spare contact block and a multimeter. Afterwards press and release it once.",
    ),
    FindingKey.PRIVACY_UNREADABLE: Sentence(
        "Tombol privasi tidak terbaca{why}. Semua kamera tetap dimatikan untuk luar sampai terbaca lagi. "
        "Periksa kabel tombol di kotak; teknisi menjalankan edge-agent status.",
        "The privacy switch cannot be read{why}. All cameras stay private until it can. "
        "Check the switch's cable at the box; a technician runs edge-agent status.",
    ),
    FindingKey.PRIVACY_NO_SWITCH: Sentence(
        "Kotak ini tidak punya tombol privasi. Ini hanya boleh bila RT setuju secara tertulis. "
        'Bila tidak, pasang tombolnya dan tulis switch = "latching" di box.toml.',
        "This box has no privacy switch. That is allowed only where the RT agreed in writing. "
        'Otherwise fit one and write switch = "latching" in box.toml.',
    ),
    FindingKey.PRIVACY_RELAY: Sentence(
        "Tombol privasi dan relai daya kamera tidak sejalan{why}. Semua kamera tetap dimatikan untuk luar. Bila kamera tanpa daya: "
        "pasangan NC dan NO tertukar, sekring putus, atau relai K1 rusak. Bila kamera masih berdaya: kontak K1 lengket. "
        "Bawa multimeter, sekring dan relai cadangan.",
        "The privacy switch and the relay of the cameras' power disagree{why}. All cameras stay private. If the cameras have no "
        "power: the NC and NO pairs are swapped, the fuse blew, or relay K1 is broken. If they still have power: a contact of K1 "
        "is welded. Bring a multimeter, a fuse and a spare relay.",
    ),
    FindingKey.PRIVACY_JAMMED: Sentence(
        "Tombol privasi tertekan lebih dari setengah menit: macet, diganjal, atau kabelnya putus. Semua kamera tetap dimatikan "
        "untuk luar. Lepaskan tombolnya; bila tetap begini, bawa tombol cadangan dan multimeter. "
        "Setelah itu tekan lama (hitung sampai lima) untuk menyiarkan lagi.",
        "The privacy button has been down for more than half a minute: it is stuck, wedged, or its wire is cut. All cameras stay "
        "private. Free the button; if that does not help, bring a spare button and a multimeter. "
        "Afterwards press it long (count to five) to go live again.",
    ),
    FindingKey.PRIVACY_PRESS_TEST: Sentence(
        "Sudah lebih dari{days} hari tombol privasi tidak ditekan. Kontak yang lengket hanya ketahuan bila ditekan. "
        "Tekan tombolnya, lihat lampu biru menyala, lalu siarkan lagi: cukup sekali sebulan.",
        "The privacy switch has not been pressed for more than{days} days. A contact that sticks is found by pressing only. "
        "Press it, see the blue lamp come on, then let it go live again: once a month is enough.",
    ),
    FindingKey.PRIVACY_NOT_KEPT: Sentence(
        "Keadaan tombol privasi tidak dapat dicatat di kartu penyimpan. Semua kamera tetap dimatikan untuk luar; setelah listrik "
        "padam kotak mungkin tidak tahu lagi bahwa tombolnya pernah ditekan. Bawa kartu baru yang sudah disiapkan; sampai itu, "
        "lihat lampunya setelah listrik menyala.",
        "The state of the privacy button could not be kept on the card. All cameras stay private; after a power cut the box may "
        "not know any more that it was pressed. Bring a new card, already flashed; until then look at the lamps when the power is "
        "back.",
    ),
    FindingKey.PRIVACY_UNDRIVEN: Sentence(
        "Kotak tidak dapat menyalakan lampu, bel atau relai daya kamera{why}. Tombol privasinya tetap bekerja, tetapi lampu atau "
        "bel mungkin diam, dan relai tidak ikut kotak. Hentikan program lain yang memakai pin itu, atau perbaiki nomor pin di "
        "box.toml; lalu uji tombolnya.",
        "The box cannot drive a lamp, the buzzer or the relay of the cameras' power{why}. The privacy switch itself works, but lamp "
        "or buzzer may say nothing, and the relay does not follow the box. Stop the other program that holds the pin, or correct "
        "its number in box.toml; then do the press test.",
    ),
    FindingKey.HUB_UNREACHABLE: Sentence(
        "Pusat kota tidak terjangkau{why}. Catatan dan gambar disimpan di kotak dan dikirim nanti. "
        "Periksa modem, pulsa atau tagihan internet, dan kabel jaringan.",
        "The city's hub cannot be reached{why}. Records and pictures are kept in the box and sent later. "
        "Check the modem, the internet bill and the network cable.",
    ),
    FindingKey.HUB_NAME_UNKNOWN: Sentence(
        "Nama pusat kota tidak dikenal jaringan{why}. Biasanya internet belum tersambung, atau nama di box.toml salah. "
        "Periksa modem dahulu, lalu hub.host.",
        "The network does not know the hub's name{why}. Usually there is no internet yet, or the name in box.toml is wrong. "
        "Check the modem first, then hub.host.",
    ),
    FindingKey.HUB_TLS: Sentence(
        "Sambungan aman ke pusat kota gagal{why}. Sertifikat kedaluwarsa atau bukan miliknya, atau jam kotak salah. "
        "Periksa jam, lalu ca_file, certificate_file dan key_file.",
        "The secure connection to the hub fails{why}. A certificate has expired or is not the right one, or the box's clock is "
        "wrong. Check the clock, then ca_file, certificate_file and key_file.",
    ),
    FindingKey.HUB_REFUSED_CLIENT: Sentence(
        "Pusat kota menolak kotak ini{why}. Kotak belum terdaftar, atau sertifikatnya untuk kotak lain. "
        "Minta kota mendaftarkan nama kotak seperti di [identity].",
        "The hub refuses this box{why}. It is not registered, or its certificate belongs to another box. "
        "Ask the city to register the box's name as in [identity].",
    ),
    FindingKey.HUB_REFUSED_VERSION: Sentence(
        "Pusat kota tidak mengenal MQTT 5{why}. Di alamat itu ada layanan lain atau versi lama. "
        "Periksa hub.host dan hub.port; perbarui layanan di pusat.",
        "The hub does not speak MQTT 5{why}. At that address is another service, or an old one. "
        "Check hub.host and hub.port; update the broker at the hub.",
    ),
    FindingKey.HUB_REFUSED_TOPIC: Sentence(
        "Pusat kota tidak mengizinkan kotak ini mengirim{why}. Hak kotak ini di pusat belum lengkap; catatan tetap disimpan. "
        "Minta kota memberi hak untuk awalan topik kotak ini.",
        "The hub does not let this box send{why}. Its rights at the hub are not complete; records are kept. "
        "Ask the city to grant the topic prefix of this box.",
    ),
    FindingKey.HUB_TOO_LARGE: Sentence(
        "Sebuah kiriman terlalu besar untuk pusat kota{why}. Kiriman itu disimpan, yang lain berjalan terus; "
        "gambar baru dibuat lebih kecil. Minta kota menaikkan batas ukuran.",
        "Something is too large for the hub{why}. It is kept, everything else goes on; new pictures are made smaller. "
        "Ask the city to raise the packet size.",
    ),
    FindingKey.HUB_NOBODY_LISTENS: Sentence(
        "Pusat kota menerima, tetapi tidak ada yang membaca{why}. Semua disimpan di kotak dan dikirim lagi nanti. "
        "Beri tahu kota: penerima untuk wilayah ini tidak berjalan.",
        "The hub's broker takes our messages, but nobody reads them{why}. All is kept in the box and sent again later. "
        "Tell the city: the receiver for this area is not running.",
    ),
    FindingKey.HUB_HANGS_UP: Sentence(
        "Sambungan selalu putus setiap kali kiriman tertentu dikirim{why}. Kiriman itu disimpan dan dicoba lagi sesekali, yang lain "
        "berjalan terus. Minta kota memeriksa batas ukuran dan penyaring di jalur ke pusat.",
        "The connection breaks each time one particular message is sent{why}. It is kept and tried again now and then, everything "
        "else goes on. Ask the city to check size limits and filters on the way to the hub.",
    ),
    FindingKey.HUB_LACKS: Sentence(
        "Sebagian kiriman tetap tidak tercatat di pusat kota walau sudah dikirim berulang kali{why}. Semuanya disimpan dan dicoba lagi "
        "makin jarang, yang lain berjalan terus. Minta kota memperbarui penerimanya.",
        "Some of what was sent is still not recorded at the hub, although it was sent again and again{why}. It is kept and tried ever "
        "more rarely, everything else goes on. Ask the city to update its receiver.",
    ),
    FindingKey.HUB_SILENT: Sentence(
        "Pusat kota tidak lagi mengakui kiriman{why}. Semua disimpan sampai diakui. "
        "Beri tahu kota: penerima untuk wilayah ini macet.",
        "The hub no longer confirms what it got{why}. All is kept until it does. "
        "Tell the city: the receiver for this area hangs.",
    ),
    FindingKey.ORDER_REFUSED: Sentence(
        "Sebuah perintah atas nama pusat kota ditolak{leaf}{why}. Tidak ada yang diubah. "
        "Bila terulang, beri tahu kota: mungkin palsu, kedaluwarsa, atau bukan untuk kotak ini.",
        "An order in the hub's name was refused{leaf}{why}. Nothing was changed. "
        "If it happens again tell the city: it may be forged, expired or meant for another box.",
    ),
    FindingKey.JOURNAL_FULL: Sentence(
        "Tempat catatan di kotak penuh{why}. Yang lama dijarangkan dan pusat kota diberi tahu bagian mana. "
        "Pulihkan internet; bila sering terjadi, bawa kartu yang lebih besar.",
        "The box's store of records is full{why}. Old ones are thinned out, and the hub is told which. "
        "Restore the internet; if it happens often, bring a larger card.",
    ),
    FindingKey.JOURNAL_BROKEN: Sentence(
        "Kartu penyimpan tidak dapat diandalkan lagi{why}. Catatan yang baru ada di memori hilang bila listrik padam. "
        "Bawa kartu baru yang sudah disiapkan.",
        "The card can no longer be relied on{why}. Records that are in memory only are lost in a power cut. "
        "Bring a new card, already flashed.",
    ),
    FindingKey.JOURNAL_PARKED: Sentence(
        "Catatan dari tempat lain menunggu di kotak ini{why}. Semuanya disimpan dan tidak dikirim atas nama tempat yang sekarang. "
        "Ambil dengan edge-agent journal export --folder, atau kembalikan [identity] yang lama di box.toml.",
        "Records of another place wait in this box{why}. They are kept, and not sent under the name of the place it has now. "
        "Take them out with edge-agent journal export --folder, or put the former [identity] back into box.toml.",
    ),
    FindingKey.BOX_HOT: Sentence(
        "Kotak terlalu panas{celsius}. Ia melambat dan bisa mati sendiri. "
        "Buka jalan udara, teduhkan dari matahari, bersihkan debu.",
        "The box is too hot{celsius}. It slows down and may stop. Clear its air slots, shade it from the sun, remove the dust.",
    ),
    FindingKey.BOX_DISK_LOW: Sentence(
        "Ruang di kartu hampir habis{free_mb}. Catatan lama akan dijarangkan lebih dini. "
        "Hapus berkas yang bukan milik agen, atau bawa kartu yang lebih besar.",
        "The card is nearly full{free_mb}. Old records will be thinned out early. "
        "Delete files that are not the agent's, or bring a larger card.",
    ),
    FindingKey.BOX_MEMORY_LOW: Sentence(
        "Memori kotak hampir habis{used_percent}. Pembacaan kamera bisa terhenti. "
        "Hentikan program lain di kotak; bila terulang, kurangi kamera atau pakai kotak yang lebih besar.",
        "The box's memory is nearly used up{used_percent}. Reading cameras may stop. "
        "Stop other programs on the box; if it happens again, use fewer cameras or a larger box.",
    ),
    FindingKey.BOX_UNDER_VOLTAGE: Sentence(
        "Tegangan kotak terlalu rendah. Kotak bisa mati mendadak dan kartunya rusak. "
        "Ganti catu daya dan kabelnya; bawa catu daya resmi 5 V.",
        "The box's supply voltage is too low. It may die suddenly and spoil its card. "
        "Replace power supply and cable; bring an official 5 V supply.",
    ),
    FindingKey.BOX_THROTTLED: Sentence(
        "Kotak memperlambat diri karena panas atau tegangan rendah. Kamera bisa dibaca terlambat. "
        "Bersihkan jalan udara, teduhkan kotak, dan pakai catu daya resmi 5 V.",
        "The box slows itself down, for heat or a weak supply. Cameras may be read late. "
        "Clear its air slots, shade it, and use an official 5 V supply.",
    ),
    FindingKey.BOX_INODES_LOW: Sentence(
        "Di kartu hampir tidak bisa dibuat berkas baru lagi{free_percent}, walau masih ada ruang. Terlalu banyak berkas kecil. "
        "Cari folder yang penuh berkas bukan milik agen dan hapus.",
        "The card can hardly take new files any more{free_percent}, though it has room. There are too many small files. "
        "Find the folder full of files that are not the agent's, and delete them.",
    ),
    FindingKey.BOX_READ_ONLY: Sentence(
        "Kartu hanya bisa dibaca lagi: sistem menguncinya setelah kesalahan tulis. Kartunya sedang rusak. "
        "Bawa kartu baru yang sudah disiapkan; jangan matikan kotak sebelum catatannya terkirim.",
        "The card can only be read any more: the system locked it after an error in writing. It is dying. "
        "Bring a new card, already flashed; leave the box on until its records are sent.",
    ),
    FindingKey.BOX_CARD_WORN: Sentence(
        "Penyimpan kotak hampir aus{worn_percent}. Ia masih bekerja, tetapi tidak lama lagi. "
        "Siapkan kartu atau kotak pengganti pada kunjungan berikut.",
        "The box's storage is nearly worn out{worn_percent}. It still works, but not for long. "
        "Prepare another card or box for the next visit.",
    ),
    FindingKey.CONFIG_CARD: Sentence(
        "Di kartu kotak ada yang belum dipakai{why}; tanpa itu kotak berjalan dengan pengaturan sebelumnya. "
        "Cabut kartunya, buka RESULT.txt di laptop, kerjakan yang tertulis di sana, lalu pasang kembali.",
        "Something on the box's card is not in use{why}; without it the box runs on what it had before. "
        "Take the card out, open RESULT.txt on a laptop, do what it says, and put the card back.",
    ),
    FindingKey.BOX_DOOR_OPEN: Sentence(
        "Pintu kotak terbuka{why}. Bila bukan teknisi, seseorang ada di dalam kotak. "
        "Lihat siapa di sana, lalu kunci pintunya.",
        "The box's door is open{why}. Unless it is a technician, somebody is inside the box. "
        "See who is there, then lock the door.",
    ),
    FindingKey.BOX_MAINS_LOST: Sentence(
        "Listrik di kotak padam; kotak berjalan dengan baterai. Kamera bisa mati bersamanya, dan itu bukan kerusakan kabel. "
        "Periksa sekring dan meteran; bila sekampung padam, tunggu saja.",
        "The mains at the box are out; it runs on its battery. Cameras may be dead with it, and that is no broken cable. "
        "Check the fuse and the meter; if the whole street is dark, wait.",
    ),
    FindingKey.BOX_UPS_EMPTY: Sentence(
        "Baterai kotak hampir habis. Semua catatan sudah ditulis ke kartu; kotak segera mati dan menyala lagi bersama listrik. "
        "Pulihkan listriknya; bila padam singkat pun menghabiskannya, ganti baterainya.",
        "The box's battery is nearly empty. All records are on the card; it will stop soon and start again with the mains. "
        "Restore the mains; if a short cut empties it, replace the battery.",
    ),
    FindingKey.BOX_LINES_UNREADABLE: Sentence(
        "Sebagian masukan kotak tidak terbaca{why}. Ini gangguan kotak; kamera tidak disalahkan karenanya. "
        "Periksa papan masukan, catu 12 V dan kabel pitanya.",
        "Some inputs of the box cannot be read{why}. That is a fault of the box; no camera is blamed for it. "
        "Check the input board, the 12 V supply and its ribbon cable.",
    ),
    FindingKey.CLOCK_UNTRUSTED: Sentence(
        "Jam kotak belum dipastikan. Urutan catatan tetap benar; jamnya ditandai tidak pasti dan diperbaiki nanti. "
        "Pulihkan internet, atau bawa baterai jam (RTC).",
        "Nothing vouches for the box's clock. Records stay in order; their times are marked uncertain and corrected later. "
        "Restore the internet, or bring a clock module (RTC) with battery.",
    ),
    FindingKey.CERTIFICATE_EXPIRES: Sentence(
        "Sertifikat kotak habis dalam{in_days} hari dan belum dapat diperbarui{why}. Setelah itu pusat kota menolak kotak ini; "
        "kamera dan catatan tetap jalan. Minta sertifikat baru dari kota, atau periksa renew_url di box.toml.",
        "The box's certificate ends in{in_days} days and could not be renewed{why}. After that the hub refuses this box; "
        "cameras and records go on. Have the city issue a new one, or check renew_url in box.toml.",
    ),
    FindingKey.CERTIFICATE_EXPIRED: Sentence(
        "Sertifikat kotak sudah habis masa berlakunya{why}. Pusat kota dapat menolak kotak ini; catatan disimpan dan menyusul. "
        "Kotak meminta yang baru sendiri bila renew_url diatur; bila tidak, minta dari kota dan pasang di kotak.",
        "The box's certificate has expired{why}. The hub may refuse this box; records are kept and will follow. "
        "The box asks for a new one by itself where renew_url is set; if not, have the city issue one and install it at the box.",
    ),
}

_FALLBACK: Final[Mapping[str, Sentence]] = {
    "camera": Sentence("Sebuah kamera", "A camera"),
    "place": Sentence("tempatnya", "its place"),
}
# Evidence that stands in brackets where it is known, and is not missed where it is not.
_BRACKETS: Final[Mapping[str, str]] = {
    "why": " ({})",
    "leaf": " ({})",
    "celsius": " ({} °C)",
    "free_mb": " ({} MB)",
    "used_percent": " ({} %)",
    "percent_covered": " ({} %)",
    "free_percent": " ({} %)",
    "worn_percent": " ({} %)",
    "days": " {}",
    "in_days": " {}",
    "short_at_m": " (≤ {} m)",
    "length_now_m": " ({} m)",
}


def say(key: FindingKey, evidence: Mapping[str, Json]) -> Sentence:
    """The sentence of *key*, filled with what is known; whatever *evidence* holds, this never raises."""
    template = WORDS[key]
    return Sentence(
        id=_sentence_case(template.id.format_map(_fields(evidence, "id"))),
        en=_sentence_case(template.en.format_map(_fields(evidence, "en"))),
    )


def bring(cable: str, metres: str, *, end_plug: bool) -> tuple[Sentence, ...]:
    """What a technician takes along to replace a run of *cable*, most important first. *metres* "" = not known."""
    known = _CABLES.get(cable)
    if known is not None:
        name, parts = known.name, known.parts
    else:
        name = (
            Sentence(cable, cable) if cable else Sentence("kabel sejenis", "cable of the same kind")
        )
        parts = _ANY_PLUGS
    length = Sentence(
        f"{metres} m {name.id}" if metres else f"{name.id} (ukur dulu)",
        f"{metres} m of {name.en}" if metres else f"{name.en} (measure first)",
    )
    return (length, *parts, *((_END_PLUG,) if end_plug else ()), *_TOOLS)


def shift(evidence: Mapping[str, Json]) -> Sentence:
    """How the view lies in the picture, as its viewer sees it: "18 px left, 12 px up (7 % of the width), turned 2° clockwise".

    From `dx_px`, `dy_px`, `percent_of_width`, `angle_deg`, `zoom_percent`, those that are known. Pixels are those of the
    picture scaled to 320 in width, so the share of the width stands beside them: that is the same at any resolution.
    """
    parts = [*_way(evidence, "dx_px", _LEFT, _RIGHT), *_way(evidence, "dy_px", _UP, _DOWN)]
    share = _number(evidence.get("percent_of_width"))
    if parts and share >= 0.5:
        parts[-1] = Sentence(
            f"{parts[-1].id} ({share:.0f} % lebar gambar)",
            f"{parts[-1].en} ({share:.0f} % of the width)",
        )
    angle, zoom = _number(evidence.get("angle_deg")), _number(evidence.get("zoom_percent"))
    if abs(angle) >= _TELL_DEG:
        way = _CLOCKWISE if angle > 0 else _ANTICLOCKWISE
        parts.append(
            Sentence(f"berputar {abs(angle):.0f}° {way.id}", f"turned {abs(angle):.0f}° {way.en}")
        )
    if abs(zoom) >= _TELL_PERCENT:
        way = _LARGER if zoom > 0 else _SMALLER
        parts.append(Sentence(f"{abs(zoom):.0f} % {way.id}", f"{abs(zoom):.0f} % {way.en}"))
    if not parts:
        return Sentence("entah ke mana", "somewhere else")
    return Sentence(", ".join(part.id for part in parts), ", ".join(part.en for part in parts))


_LEFT, _RIGHT = Sentence("ke kiri", "left"), Sentence("ke kanan", "right")
_UP, _DOWN = Sentence("ke atas", "up"), Sentence("ke bawah", "down")
_CLOCKWISE = Sentence("searah jarum jam", "clockwise")
_ANTICLOCKWISE = Sentence("berlawanan jarum jam", "anticlockwise")
_LARGER, _SMALLER = Sentence("lebih besar", "larger"), Sentence("lebih kecil", "smaller")
# Below these a number would read 0, or be no more than the measurement's own spread.
_TELL_DEG: Final = 1.0
_TELL_PERCENT: Final = 2.0


def _way(
    evidence: Mapping[str, Json], name: str, back: Sentence, forth: Sentence
) -> list[Sentence]:
    pixels = round(_number(evidence.get(name)))
    if not pixels:
        return []
    way = forth if pixels > 0 else back
    return [Sentence(f"{abs(pixels)} px {way.id}", f"{abs(pixels)} px {way.en}")]


def _number(value: Json) -> float:
    """A number that a sentence can hold; anything else is 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if abs(value) < 10**4 else 0.0


def _fields(evidence: Mapping[str, Json], language: str) -> dict[str, str]:
    known = {name: plain(evidence.get(name)) for name in (*_FALLBACK, *_BRACKETS)}
    known["why"] = plain(evidence.get("detail")) or known["why"]
    fields = {name: known[name] or _in(fallback, language) for name, fallback in _FALLBACK.items()}
    fields["shift"] = _in(shift(evidence), language)
    fields |= {
        name: form.format(known[name]) if known[name] else "" for name, form in _BRACKETS.items()
    }
    return fields


def plain(value: Json) -> str:
    """A value within a sentence: one line, short, nothing that a terminal or a web page would obey."""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    if isinstance(value, str):
        text = "".join(mark if mark.isprintable() else " " for mark in value).strip()
        return text if len(text) <= DETAIL_MAX else text[: DETAIL_MAX - 1] + "…"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**15 else ""
    return ""


def _in(sentence: Sentence, language: str) -> str:
    return sentence.id if language == "id" else sentence.en


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---- what the portal shows in place of a picture, or beside it ----

PRIVATE: Final = Sentence("Kamera dimatikan warga", "Switched off by residents")
SUSPENDED: Final = Sentence("Siaran dihentikan sementara oleh kota", "Suspended by the city")
LIVE: Final = Sentence("Siaran berjalan", "Live")
CHECKING: Final = Sentence(
    "Kamera sedang diperiksa sebelum disiarkan", "The camera is being checked before it is shown"
)
HELD: Final = Sentence(
    "Gambar ditahan sampai dipastikan memperlihatkan jalan",
    "Held until it is certain to show the street",
)
FAULT: Final = Sentence(
    "Kamera rusak; petugas sudah diberi tahu", "Out of order; the technicians have been told"
)
OUTAGE: Final = Sentence(
    "Sambungan ke kotak kamera terputus; rekaman menyusul",
    "The line to the camera's box is down; records will follow",
)

_FAULTS: Final = frozenset(
    {
        *(key for key in FindingKey if key.name.startswith("CAMERA_")),
        FindingKey.CABLE_OPEN,
        FindingKey.CABLE_SHORT,
        FindingKey.CABLE_CORRODED,
        FindingKey.VIEW_COVERED,
        FindingKey.VIEW_FROZEN,
    }
)
_HOLDS: Final = frozenset(
    {key for key in FindingKey if key.name.startswith("VIEW_")}
    | {
        FindingKey.CABLE_CAMERA_TAKEN,
        FindingKey.CABLE_OTHER_LENGTH,
        FindingKey.CABLE_HOUSING_OPEN,
    }
)


_MONTHS: Final = (
    Sentence("Januari", "January"),
    Sentence("Februari", "February"),
    Sentence("Maret", "March"),
    Sentence("April", "April"),
    Sentence("Mei", "May"),
    Sentence("Juni", "June"),
    Sentence("Juli", "July"),
    Sentence("Agustus", "August"),
    Sentence("September", "September"),
    Sentence("Oktober", "October"),
    Sentence("November", "November"),
    Sentence("Desember", "December"),
)
_LATEST_S: Final = 253_402_214_400.0  # no calendar goes beyond the year 9999, in whatever zone
_STREET_TIME: Final = timezone(timedelta(hours=7))  # WIB


def suspended_until(until_s: float, reason: Sentence) -> Sentence:
    """That the city suspended it, until which day, and why; *until_s* is Unix time, *reason* may be empty.

    The day is the last one without pictures: a suspension until midnight ends with the day before it.
    """
    last = datetime.fromtimestamp(min(until_s, _LATEST_S) - 1.0, _STREET_TIME)
    month = _MONTHS[last.month - 1]
    return Sentence(
        f"{SUSPENDED.id} sampai {last.day} {month.id} {last.year}" + _because(reason.id),
        f"{SUSPENDED.en} until {last.day} {month.en} {last.year}" + _because(reason.en),
    )


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def notice(
    *,
    gate: str,
    suspended: bool,
    findings: Sequence[FindingKey],
    city: Sentence = SUSPENDED,
) -> Sentence:
    """Why the public sees what it sees of a camera, never a bare error. *gate* is a gate's state by name.

    Residents come first, then the city; a suspension is never shown as a fault, nor a fault as a suspension.
    *city*: what is said of the suspension. `OUTAGE` is for the box's will: no box can say it of itself.
    """
    if gate == "private":
        return PRIVATE
    if suspended:
        return city
    if gate == "open":
        return LIVE
    if any(key in _FAULTS for key in findings):
        return FAULT
    if any(key in _HOLDS for key in findings):
        return HELD
    return CHECKING
