"""What people read of a broken way to the hub: one sentence per fault, in Indonesian and English.

Promises: each says what is broken, what goes on meanwhile or what that means, and what to do or bring; evidence that is missing
or odd never raises. Not its job: finding the fault (ladder.py), the link's other findings (words.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_agent.core.messages import Fault
from edge_agent.core.words import Sentence, plain

WORDS: Final[Mapping[Fault, Sentence]] = {
    Fault.NO_INTERFACE: Sentence(
        "Kotak tidak punya kartu jaringan yang bekerja{seen}. Adaptor lepas atau rusak. "
        "Pasang kembali adaptornya; bila tetap hilang, bawa kotak atau adaptor pengganti.",
        "The box has no network interface that works{seen}. Its adapter is out, or broken. "
        "Plug it in again; if it stays away, bring another adapter or box.",
    ),
    Fault.NO_CARRIER: Sentence(
        "Kabel jaringan kotak tidak tersambung{seen}. Kabelnya lepas, putus, atau router mati. "
        "Periksa colokan dan lampu port di kotak dan router; bawa kabel jaringan cadangan.",
        "The box's network cable is not connected{seen}. It is out or broken, or the router is off. "
        "Check plugs and port lights at box and router; bring a spare network cable.",
    ),
    Fault.NO_ADDRESS: Sentence(
        "Kotak tidak mendapat alamat jaringan{seen}. Router tidak membagikan alamat, atau pengaturan tetapnya hilang. "
        "Nyalakan ulang router; periksa DHCP-nya, atau tulis alamat tetap.",
        "The box gets no network address{seen}. The router hands out none, or a fixed setting is lost. "
        "Restart the router; check its DHCP, or give the box a fixed address.",
    ),
    Fault.NO_ROUTE: Sentence(
        "Kotak tidak tahu jalan keluar dari jaringannya{seen}. Router tidak menyebut dirinya sebagai gateway. "
        "Nyalakan ulang router; bila alamat kotak tetap, tulis gateway-nya.",
        "The box knows no way out of its network{seen}. The router does not name itself as gateway. "
        "Restart the router; if the box has a fixed address, give it its gateway.",
    ),
    Fault.GATEWAY_SILENT: Sentence(
        "Router tidak menjawab kotak{seen}. Router mati atau macet, atau kabelnya masuk ke jaringan lain. "
        "Cabut daya router sepuluh detik; periksa apakah kabel kotak menuju router yang benar.",
        "The router does not answer the box{seen}. It is off or hangs, or the cable leads to another network. "
        "Unplug its power for ten seconds; check that the box's cable goes to the right router.",
    ),
    Fault.NO_NAME_SERVER: Sentence(
        "Kotak tidak tahu siapa yang dapat mencarikan nama{seen}. Router tidak memberi server nama (DNS). "
        "Nyalakan ulang router, atau tulis server nama di pengaturan jaringan kotak.",
        "The box does not know whom to ask for names{seen}. The router gives no name server (DNS). "
        "Restart the router, or write a name server into the box's network settings.",
    ),
    Fault.NAME_SERVER_SILENT: Sentence(
        "Server nama (DNS) tidak menjawab{seen}. Biasanya internet putus di belakang router. "
        "Buka halaman apa saja lewat router itu; bila gagal juga, hubungi penyedia internet.",
        "The name server (DNS) gives no answer{seen}. Usually the internet is out behind the router. "
        "Open any page through that router; if that fails too, call the internet provider.",
    ),
    Fault.NAME_UNKNOWN: Sentence(
        "Internet menjawab, tetapi nama pusat kota tidak dikenal{seen}. Namanya di box.toml salah, atau dihapus kota. "
        "Cocokkan host di box.toml dengan surat dari kota; bila benar, beri tahu kota.",
        "The internet answers, but nobody knows the hub's name{seen}. It is wrong in box.toml, or the city removed it. "
        "Compare host in box.toml with the city's letter; if it is right, tell the city.",
    ),
    Fault.NOBODY_LISTENS: Sentence(
        "Komputer pusat kota hidup, tetapi layanannya tidak berjalan{seen}. Catatan disimpan dan menyusul. "
        "Tidak ada yang perlu dikerjakan di kotak; beri tahu kota, dan periksa port di box.toml bila baru dipasang.",
        "The hub's computer is alive, but its service is not running{seen}. Records are kept and will follow. "
        "Nothing to do at the box; tell the city, and check port in box.toml if this box is new.",
    ),
    Fault.NO_WAY: Sentence(
        "Di tengah jalan ada yang melapor tidak bisa meneruskan ke pusat kota{seen}. Gangguannya di luar kotak. "
        "Hubungi penyedia internet bila halaman lain pun tidak terbuka; kalau terbuka, beri tahu kota.",
        "Something on the way says that it cannot go on to the hub{seen}. The fault is outside the box. "
        "Call the internet provider if other pages do not open either; if they do, tell the city.",
    ),
    Fault.NO_ANSWER: Sentence(
        "Pusat kota tidak menjawab sama sekali{seen}. Internet putus di belakang router, ada tembok api, atau pusat kota mati. "
        "Buka halaman lain lewat router itu: bila gagal hubungi penyedia internet, bila bisa beri tahu kota.",
        "The hub does not answer at all{seen}. The internet is out behind the router, a firewall is in the way, or the hub is down. "
        "Open another page through that router: if that fails call the provider, if it works tell the city.",
    ),
    Fault.TLS_SILENT: Sentence(
        "Pusat kota menerima sambungan, lalu diam{seen}. Layanannya kelebihan beban atau macet, atau router menahan datanya. "
        "Kotak mencoba lagi sendiri; bila berlangsung sehari, beri tahu kota.",
        "The hub takes the connection, then keeps silent{seen}. It is overloaded or hangs, or a router holds the data back. "
        "The box tries again by itself; if it lasts a day, tell the city.",
    ),
    Fault.NOT_TLS: Sentence(
        "Yang menjawab di alamat pusat kota tidak berbicara aman{seen}. Port salah, atau ada yang menyela di jaringan ini. "
        "Periksa host dan port di box.toml; bila benar, beri tahu kota.",
        "What answers at the hub's address does not speak securely{seen}. The port is wrong, or something meddles with this network. "
        "Check host and port in box.toml; if they are right, tell the city.",
    ),
    Fault.HUB_UNKNOWN: Sentence(
        "Yang menjawab bukan pusat kota yang dikenal kotak{seen}. Tidak ada yang dikirim kepadanya. Kota mengganti sertifikat "
        "induknya, atau ada yang menyamar. Minta berkas ca_file terbaru dari kota; jangan ambil dari jaringan ini.",
        "What answers is not the hub that this box knows{seen}. Nothing is sent to it. The city changed its root certificate, "
        "or somebody pretends to be the hub. Ask the city for the present ca_file; do not fetch it over this network.",
    ),
    Fault.HUB_OTHER_NAME: Sentence(
        "Yang menjawab menunjukkan sertifikat untuk nama lain{seen}. Tidak ada yang dikirim kepadanya. "
        "Periksa host di box.toml; bila benar, beri tahu kota.",
        "What answers shows a certificate for another name{seen}. Nothing is sent to it. "
        "Check host in box.toml; if it is right, tell the city.",
    ),
    Fault.HUB_DATES: Sentence(
        "Sertifikat pusat kota tidak berlaku hari ini menurut jam kotak{seen}. Tidak ada yang dikirim kepadanya. "
        "Periksa jam kotak dengan timedatectl; bila benar, beri tahu kota agar memperbarui sertifikatnya.",
        "By the box's clock the hub's certificate does not hold today{seen}. Nothing is sent to it. "
        "Check the box's clock with timedatectl; if it is right, tell the city to renew its certificate.",
    ),
    Fault.OWN_EXPIRED: Sentence(
        "Sertifikat kotak ini sudah habis masa berlakunya{seen}, jadi pusat kota menolaknya. Kotak meminta yang baru sendiri bila "
        "renew_url diatur. Bila tidak berhasil dalam sehari, minta sertifikat baru dari kota dan pasang di kotak.",
        "This box's certificate has expired{seen}, so the hub refuses it. The box asks for a new one by itself where renew_url is "
        "set. If that does not work within a day, have the city issue a new one and install it at the box.",
    ),
    Fault.OWN_REFUSED: Sentence(
        "Pusat kota menolak sertifikat kotak ini{seen}. Mungkin dicabut, atau pusat kota tidak mengenal penerbitnya. "
        "Tanyakan kota dengan nama kotak; minta sertifikat baru bila perlu.",
        "The hub refuses this box's certificate{seen}. It may be revoked, or the hub does not know who issued it. "
        "Ask the city, naming the box; have a new certificate issued if need be.",
    ),
    Fault.OWN_UNUSABLE: Sentence(
        "Sertifikat atau kunci kotak tidak dapat dipakai{seen}. Berkasnya hilang, rusak, atau bukan pasangan. "
        "Jalankan edge-agent check; minta pasangan baru dari kota bila berkasnya rusak.",
        "The box's certificate or key cannot be used{seen}. A file is gone, damaged, or the two are no pair. "
        "Run edge-agent check; have the city issue a new pair if a file is damaged.",
    ),
    Fault.NOT_MQTT: Sentence(
        "Pusat kota tidak menerima bahasa kotak (MQTT 5){seen}. Layanannya terlalu lama, atau port itu milik layanan lain. "
        "Periksa port di box.toml; bila benar, beri tahu kota.",
        "The hub does not take the box's language (MQTT 5){seen}. Its service is too old, or that port is another service's. "
        "Check port in box.toml; if it is right, tell the city.",
    ),
    Fault.NOT_ALLOWED: Sentence(
        "Pusat kota dapat dicapai, tetapi tidak mengizinkan kotak ini{seen}. Izinnya di pusat kota hilang atau untuk nama lain. "
        "Tidak ada yang rusak di sini; minta kota memeriksa izin kotak dengan nama ini.",
        "The hub can be reached, but does not let this box in{seen}. Its permission there is gone, or is for another name. "
        "Nothing is broken here; ask the city to check the permission of the box of this name.",
    ),
    Fault.HUB_SILENT: Sentence(
        "Perantara pusat kota menerima catatan, tetapi tidak ada yang mengakuinya{seen}. Catatan disimpan di kotak. "
        "Tidak ada yang perlu dikerjakan di sini; beri tahu kota bahwa penerimanya tidak berjalan.",
        "The hub's broker takes records, but nobody acknowledges them{seen}. They are kept in the box. "
        "Nothing to do here; tell the city that its receiver is not running.",
    ),
    Fault.UNKNOWN: Sentence(
        "Pusat kota tidak tercapai, dan kotak tidak dapat memastikan sebabnya{seen}. Pada yang sudah diperiksa dari kotak ini tidak ada yang rusak. "
        "Lihat lampu router dan coba halaman lain; kotak mencoba lagi sendiri.",
        "The hub is not reached, and the box cannot tell why{seen}. Nothing that was checked from here is broken. "
        "Look at the router's lights and try another page; the box tries again by itself.",
    ),
}


def say(fault: Fault, seen: str) -> Sentence:
    """The sentence of *fault*; *seen* stands in it in brackets."""
    shown = plain(seen)
    known = f" ({shown})" if shown else ""
    template = WORDS[fault]
    return Sentence(
        id=template.id.replace("{seen}", known), en=template.en.replace("{seen}", known)
    )
