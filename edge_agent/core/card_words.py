"""RESULT.txt, word for word: what a box made of the card, for whoever opens it on a laptop; Indonesian first, then English.

Promises: the same report gives the same text; no line is longer than a window; nothing of what was found is repeated but what a
fault itself shows, and that within one line.
Not its job: judging (card.py), writing the file (provision).
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

from edge_agent.core.card import Fault, Part, Report, Standing, Verdict, troubled
from edge_agent.core.words import Sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_WIDTH: Final = 96
_TEXT_MAX: Final = 500  # characters of one sentence
_LINE_END: Final = "\r\n"  # Notepad of older Windows shows anything else as one line

_TITLE: Final = Sentence(
    "HASIL PEMBACAAN KARTU - ditulis oleh kotak, tidak perlu diubah",
    "WHAT THE BOX MADE OF THE CARD - written by the box, nothing to change here",
)
_COUNT: Final = Sentence("Pembacaan ke-{count} di kotak ini", "Reading no. {count} of this box")
_ALL_WELL: Final = Sentence(
    "SEMUA DITERIMA. Kotak berjalan dengan isi kartu ini.",
    "ALL ACCEPTED. The box runs on what this card says.",
)
_TO_DO: Final = Sentence(
    "BELUM SELESAI: {parts}. Perbaiki di kartu ini, pasang kembali, lalu nyalakan kotak.",
    "NOT FINISHED: {parts}. Put it right on this card, put the card back, and start the box.",
)
_FAULTS: Final = Sentence("Yang harus diperbaiki:", "What has to be put right:")
_NOTES: Final = Sentence("Yang perlu diketahui:", "Good to know:")
_LINE: Final = Sentence("baris", "line")
_ALLOWED: Final = Sentence("Yang diterima", "Accepted")
_REMEDY: Final = Sentence("Perbaikan", "Remedy")

_STANDING: Final[Mapping[tuple[Part, Standing], Sentence]] = {
    (Part.BOX, Standing.TAKEN): Sentence("dipakai", "in use"),
    (Part.BOX, Standing.KEPT): Sentence(
        "DITOLAK; pengaturan sebelumnya tetap dipakai", "REFUSED; the one from before stays in use"
    ),
    (Part.BOX, Standing.NONE): Sentence(
        "DITOLAK; kotak belum punya pengaturan dan belum bekerja",
        "REFUSED; the box has no configuration and does not work yet",
    ),
    (Part.CERTIFICATE, Standing.TAKEN): Sentence("dipakai", "in use"),
    (Part.CERTIFICATE, Standing.KEPT): Sentence(
        "yang di kartu tidak dipakai; sertifikat sebelumnya tetap dipakai",
        "not taken from the card; the certificate from before stays in use",
    ),
    (Part.CERTIFICATE, Standing.NONE): Sentence(
        "BELUM ADA: kotak bekerja dan mencatat, tetapi belum dapat mengirim ke kota",
        "NONE YET: the box works and records, but cannot send to the city",
    ),
    (Part.NETWORK, Standing.TAKEN): Sentence("dipakai", "in use"),
    (Part.NETWORK, Standing.KEPT): Sentence(
        "DITOLAK; pengaturan jaringan sebelumnya tetap dipakai",
        "REFUSED; the network settings from before stay in use",
    ),
    (Part.NETWORK, Standing.NONE): Sentence(
        "DITOLAK; jaringan kabel memakai DHCP", "REFUSED; the wired socket uses DHCP"
    ),
    (Part.KEYS, Standing.TAKEN): Sentence("ada: SSH menyala", "there: SSH is on"),
    (Part.KEYS, Standing.NONE): Sentence("tidak ada: SSH mati", "not there: SSH is off"),
}

# What edge_agent.config says most often, told in Indonesian too; the rest is shown as it is.
_FOUND: Final = (
    (r"nothing", "belum diisi"),
    (r"a name that nothing here knows", "nama ini tidak dikenal"),
    (r"not TOML: .*", "tulisannya keliru (tanda petik, kurung, titik atau tanda =): {0}"),
    (r"not UTF-8 text", "bukan teks UTF-8"),
    (r"a secret in the configuration itself.*", "kata sandi tertulis di sini (tidak ditampilkan)"),
    (r"no such file.*", "berkas yang disebut di sini tidak ada di kartu"),
    (r"(.+): no such file.*", "{1}: berkas ini tidak ada di kartu"),
    (r"(.+): a private key", "{1}: berisi kunci rahasia"),
    (r"(.+): an empty file", "{1}: berkas kosong"),
    (r"a key that does not belong here", "tidak boleh ada di sini"),
    (r'(".+"), but no camera has this id', "{1}, tetapi tidak ada kamera dengan id ini"),
    (r"a value that does not fit \(not shown\)", "isinya tidak cocok (tidak ditampilkan)"),
    (r"text that may hold a secret \(not shown\)", "teks yang mungkin rahasia (tidak ditampilkan)"),
    (r".*", "isinya tidak cocok: {0}"),
)
_REMEDIES: Final = (
    (r'did you mean "?([^"?]+)"?\?', "mungkin maksudnya {1}"),
    (r'add (\w+) = "\.\.\.".*', 'tambahkan {1} = "..."'),
    (r"add it as in .*", "tambahkan seperti contoh di kartu"),
    (r"delete it.*", "hapus baris ini"),
    (r"delete one of them.*", "hapus salah satu"),
    (r"create it, or correct the path", "taruh berkasnya di kartu, atau betulkan namanya"),
    (r"its length is missing.*", 'panjangnya belum ada: untuk kebanyakan jaringan tambahkan "/24"'),
    (
        r"this address means the whole.*",
        "alamat ini berarti seluruh jaringan: ganti angka terakhir",
    ),
    (r"no machine can have this address", "alamat ini tidak dapat dipakai alat mana pun"),
    (r"four numbers, .*", "empat angka, '/', lalu 1 sampai 30"),
    (r"as the router shows it.*", "seperti tertulis di router, di antara tanda petik"),
    (r"the router's address, as given there", "alamat router di jaringan yang sama"),
    (r"give the cameras another network.*", "beri kamera jaringan lain, misalnya 192.168.64.x"),
    (r"correct it, or delete it", "betulkan atau hapus"),
    (r"write the brackets and the quotes", "tulis kurung siku dan tanda petiknya"),
    (r"delete the line and type.*|the line holds an invis.*", "hapus baris itu lalu ketik lagi"),
    (r"write it without quotes", "tulis tanpa tanda petik"),
    (r"put it in quotes: (.+)", "beri tanda petik: {1}"),
    (r"text needs quotes.*", 'teks harus di antara tanda petik ("..."); desimal memakai titik'),
    (r"save it again as .UTF-8.*", 'simpan lagi sebagai "UTF-8" di Notepad'),
    (r".*", "{0}"),
)


def of_config(found: str, remedy: str) -> tuple[Sentence, Sentence]:
    """What edge_agent.config found and advises, in both languages; in Indonesian as far as this module knows the phrase."""
    return Sentence(_told(found, _FOUND), found), Sentence(_told(remedy, _REMEDIES), remedy)


def _told(text: str, table: tuple[tuple[str, str], ...]) -> str:
    """As the first pattern that fits has it; the last of each table fits anything."""
    found = ((re.fullmatch(pattern, text, re.DOTALL), form) for pattern, form in table)
    match, form = next((match, form) for match, form in found if match is not None)
    return form.replace("{0}", match[0]).replace("{1}", match[match.re.groups])


def result(report: Report) -> str:
    """The whole RESULT.txt."""
    both: tuple[Callable[[Sentence], str], ...] = (_indonesian, _english)
    pages = ["\n".join(_page(report, say)) for say in both]
    return f"\n\n{'=' * _WIDTH}\n\n".join(pages).replace("\n", _LINE_END) + _LINE_END


def _indonesian(sentence: Sentence) -> str:
    return sentence.id


def _english(sentence: Sentence) -> str:
    return sentence.en


def _page(report: Report, say: Callable[[Sentence], str]) -> Iterator[str]:
    yield say(_TITLE)
    place = f" ({report.place})" if report.place else ""
    yield say(_COUNT).format(count=report.count) + place
    yield ""
    parts = troubled(report)
    yield from _wrapped(say(_TO_DO).format(parts=", ".join(parts)) if parts else say(_ALL_WELL))
    yield ""
    width = max(len(part.value) for part in Part)
    for verdict in report.verdicts:
        yield from _standing(verdict, say, width)
    faults = [fault for verdict in report.verdicts for fault in verdict.faults]
    if faults:
        yield ""
        yield say(_FAULTS)
        for number, fault in enumerate(faults, start=1):
            yield from _fault(number, fault, say)
    if report.notes:
        yield ""
        yield say(_NOTES)
        for note in report.notes:
            yield from _wrapped(f"- {_clean(say(note))}", indent="  ")


def _standing(verdict: Verdict, say: Callable[[Sentence], str], width: int) -> Iterator[str]:
    told = say(_STANDING[verdict.part, verdict.standing])
    if verdict.note is not None:
        told += f"; {say(verdict.note)}"
    yield from _wrapped(f"{verdict.part.value:{width}}  {told}", indent=" " * (width + 2))


def _fault(number: int, fault: Fault, say: Callable[[Sentence], str]) -> Iterator[str]:
    at = f", {say(_LINE)} {fault.line}" if fault.line is not None else ""
    yield from _wrapped(f"{number}. {_clean(fault.where)}{at}: {_clean(say(fault.said))}")
    if fault.allowed:
        yield from _wrapped(f"   {say(_ALLOWED)}: {_clean(fault.allowed)}")
    yield from _wrapped(f"   {say(_REMEDY)}: {_clean(say(fault.remedy))}")


def _clean(text: str) -> str:
    """One line that an editor shows as it is. Unlike `words.plain` it keeps a remedy whole."""
    return "".join(mark if mark.isprintable() else " " for mark in text)[:_TEXT_MAX]


def _wrapped(text: str, *, indent: str = "      ") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=True,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
