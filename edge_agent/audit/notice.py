"""The facts that a breach notice needs, as far as the box knows them, in Indonesian and English. Never a picture.

Indonesia's Law 27/2022 on personal data protection, article 46: the controller tells the persons concerned and the authority in
writing within 3 x 24 hours, at least what personal data was disclosed, when and how, and what was done about it and to
recover; in certain cases the public too.
Promises: what the box cannot know stands among the questions, never as a guess; both languages say the same.
Not its job: deciding that there was a breach, or sending anything: a person does both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.core.words import Sentence

# What closed a gate, or opened it: gate.Cause, in the words of its table.
CAUSES: Final = {
    "signal back": "sinyal kembali",
    "signal lost": "sinyal hilang",
    "continuity broken": "rangkaian bukti terputus",
    "proven": "pandangan terbukti cocok",
    "cannot tell": "tidak dapat dipastikan",
    "cannot tell for too long": "terlalu lama tidak dapat dipastikan",
    "view moved": "arah kamera bergeser",
    "foreign view": "bukan pandangan yang terdaftar",
    "loop not normal": "kabel pengawas tidak normal",
    # Not always a hand: a cut wire or an unreadable pin does it too; the record of that says why.
    "privacy on": "kotak menjadi privat",
    "privacy off": "privat berakhir",
}

ENDS: Final = {
    "the gate closed": Sentence("ditutup oleh sistem", "closed by the system"),
    "the agent was stopped": Sentence("agen dihentikan", "the agent was stopped"),
    "the agent ended without a word": Sentence(
        "agen berhenti mendadak; ini tanda hidup terakhirnya, dan gambar yang diambil sesudahnya tidak mungkin keluar",
        "the agent ended without a word; this is its last sign of life, and no picture taken later can have left",
    ),
    "still open at the last sign of life": Sentence(
        "masih terbuka pada tanda hidup terakhir", "still open at the last sign of life"
    ),
}

GAPS: Final = {
    "before": Sentence(
        "sebelum catatan tertua yang masih ada", "before the oldest entry that is kept"
    ),
    "stopped": Sentence("agen dihentikan", "the agent was stopped"),
    "lost": Sentence(
        "agen berhenti mendadak (listrik padam atau galat)",
        "the agent ended without a word (power cut or fault)",
    ),
    "clock": Sentence(
        "jam kotak tidak dapat dipercaya: sebagian waktu ini mungkin tercatat, lihat waktu dalam kurung",
        "the box's clock was not trusted: part of this may be on record, see the times in brackets",
    ),
    "after": Sentence("tidak ada catatan yang lebih baru", "nothing newer is on record"),
}

HAPPENINGS: Final = {
    # Not always a hand: a cut wire or an unreadable pin does it too. `why` and `by_hand` stand behind it.
    "privacy.on": Sentence("kotak menjadi privat", "the box became private"),
    "privacy.off": Sentence("privat berakhir", "private ended"),
    "privacy.purged": Sentence(
        "gambar yang belum terkirim dimusnahkan di kotak",
        "unsent pictures were destroyed on the box",
    ),
    "privacy.withdraw": Sentence(
        "pusat diminta memusnahkan gambar yang sudah diterima",
        "the hub was asked to destroy pictures that it had received",
    ),
    "privacy.refused": Sentence(
        "permintaan dari jauh untuk mengubah privasi ditolak",
        "a request from afar to change privacy was refused",
    ),
    "command.accepted": Sentence("perintah kota diterima", "a command of the city was accepted"),
    "command.done": Sentence("hasil perintah kota", "what came of a command of the city"),
    "hub.suspended": Sentence("dihentikan sementara oleh kota", "suspended by the city"),
    "hub.resumed": Sentence("penghentian sementara berakhir", "suspension ended"),
    "journal.damaged": Sentence("jurnal rusak dan diganti", "the journal was damaged and replaced"),
    "finding.opened": Sentence("temuan", "finding"),
    "finding.closed": Sentence("temuan selesai", "finding over"),
    "view.learnt": Sentence("cahaya lain dipelajari", "another light of the view was learnt"),
}

_TITLE: Final = Sentence(
    "FAKTA UNTUK PEMBERITAHUAN KEGAGALAN PELINDUNGAN DATA PRIBADI",
    "FACTS FOR A NOTICE OF A PERSONAL DATA BREACH",
)
_LAW: Final = Sentence(
    "UU 27/2022 Pasal 46: tertulis, paling lambat 3 x 24 jam, kepada subjek data pribadi dan lembaga; dalam hal tertentu juga kepada "
    "masyarakat. Ini bukan surat pemberitahuan, dan bukan putusan bahwa ada kegagalan: ini yang diketahui kotak.",
    "Law 27/2022, article 46: in writing, within 3 x 24 hours, to the persons concerned and to the authority; in certain cases to the "
    "public too. This is no notice, nor a finding that there was a breach: it is what the box knows.",
)
_WHAT: Final = Sentence("1. Data pribadi yang terungkap", "1. The personal data disclosed")
_WHEN: Final = Sentence("2. Kapan dan bagaimana", "2. When and how")
_DONE: Final = Sentence("3. Penanganan dan pemulihan", "3. Handling and recovery")
_PROOF: Final = Sentence("4. Bukti", "4. Proof")
_ASK: Final = Sentence(
    "5. Yang tidak diketahui kotak: dijawab oleh manusia",
    "5. What the box does not know: for a person to answer",
)
_NOTHING: Final = Sentence(
    "Tidak ada gerbang yang terbuka dalam waktu yang ditanyakan, menurut catatan yang ada.",
    "No gate was open in the time asked for, by what is on record.",
)
_PICTURES: Final = Sentence(
    "Gambar (foto diam) dari {camera}: {count} gambar dilepas ke jurnal untuk dikirim ke pusat {hub}.",
    "Still pictures from {camera}: {count} released into the journal, to be sent to the hub {hub}.",
)
_NONE_STORED: Final = Sentence(
    "Catatan ini tidak menyimpan gambar; apa yang terlihat hanya dapat dijawab dari gambar di pusat.",
    "This trail holds no picture; what could be seen can be answered only from the pictures at the hub.",
)
_OPENED: Final = Sentence(
    "{camera}: terbuka {since} sampai {until}", "{camera}: open {since} to {until}"
)
_BY: Final = Sentence("   dibuka karena: {cause}; {numbers}", "   opened by: {cause}; {numbers}")
_CLOSED: Final = Sentence(
    "   berakhir: {how}{cause}; {numbers}", "   ended: {how}{cause}; {numbers}"
)
_COUNT: Final = Sentence("   gambar dilepas: {count}", "   pictures released: {count}")
_NOT_COVERED: Final = Sentence(
    "tidak tercatat {since} sampai {until}: {why}", "not on record {since} to {until}: {why}"
)
_NO_DEED: Final = Sentence(
    "Tidak ada privat, pemusnahan atau penarikan dalam waktu ini.",
    "Neither private, nor destruction or withdrawal in this time.",
)
_QUESTIONS: Final = (
    Sentence(
        "Siapa dan apa yang terlihat di gambar? Berapa orang, adakah anak-anak?",
        "Who and what can be seen in the pictures? How many persons, any children?",
    ),
    Sentence(
        "Gambar mana yang benar-benar sampai di pusat, ditayangkan di portal, dilihat atau disalin orang?",
        "Which pictures did reach the hub, were shown on the portal, were seen or copied?",
    ),
    Sentence(
        "Apakah pusat sudah memusnahkan gambar yang ditarik, juga di salinan dan cadangannya?",
        "Has the hub destroyed what was withdrawn, in its copies and backups too?",
    ),
    Sentence(
        "Di mana kamera berada saat itu, dan siapa yang memindahkannya?",
        "Where was the camera at that time, and who moved it?",
    ),
    Sentence(
        "Kapan kegagalan ini diketahui? Tiga kali 24 jam dihitung dari saat itu.",
        "When did this become known? The 3 x 24 hours count from then.",
    ),
    Sentence(
        "Siapa pengendali data pribadi, dan siapa narahubungnya?",
        "Who is the controller of the personal data, and whom can one ask?",
    ),
)
_UNKNOWN: Final = Sentence("tidak diketahui", "not known")
_HOLDS: Final = Sentence(
    "Rantai catatan utuh: {count} catatan; akhir rantai: epoch {epoch}, n {n}, SHA-256 {hash}. Pusat memegang catatan yang sama.",
    "The chain holds: {count} entries; its end: epoch {epoch}, n {n}, SHA-256 {hash}. The hub holds the same records.",
)
_BROKEN: Final = Sentence(
    "RANTAI CATATAN TIDAK UTUH, lihat di bawah; akhir rantai: epoch {epoch}, n {n}, SHA-256 {hash}.",
    "THE CHAIN DOES NOT HOLD, see below; its end: epoch {epoch}, n {n}, SHA-256 {hash}.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An opening, ready to be told. Times are text in the box's own zone."""

    camera: str
    since: str
    until: str
    pictures: int | None
    cause: str
    numbers: str
    how: str  # a key of `ENDS`
    closing_cause: str
    closing_numbers: str
    hub: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A line of time: `kind` is a key of `HAPPENINGS` or of `GAPS`."""

    kind: str
    since: str
    until: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a notice can be told."""

    box: str
    asked: str
    openings: Sequence[Shown]
    deeds: Sequence[Told]
    gaps: Sequence[Told]
    count: int
    epoch: str
    n: int
    hash: str
    breaks: Sequence[str]


def lines(facts: Facts) -> Iterator[str]:
    """The notice's facts, first in Indonesian, then in English."""
    yield from _Page(facts, indonesian=True).lines()
    yield ""
    yield from _Page(facts, indonesian=False).lines()


class _Page:
    """The facts in one language."""

    def __init__(self, facts: Facts, *, indonesian: bool) -> None:
        self._facts = facts
        self._indonesian = indonesian

    def lines(self) -> Iterator[str]:
        facts = self._facts
        yield self._say(_TITLE)
        yield self._say(_LAW)
        yield f"{facts.box}; {facts.asked}"
        for title, section in (
            (_WHAT, self._what),
            (_WHEN, self._when),
            (_DONE, self._done),
            (_PROOF, self._proof),
        ):
            yield ""
            yield self._say(title)
            yield from section()
        yield ""
        yield self._say(_ASK)
        yield from (f"- {self._say(question)}" for question in _QUESTIONS)

    def _say(self, sentence: Sentence, **told: object) -> str:
        text = sentence.id if self._indonesian else sentence.en
        return text.format(**told) if told else text

    def _pictures(self, count: int | None) -> str:
        return self._say(_UNKNOWN) if count is None else str(count)

    def _cause(self, cause: str) -> str:
        return CAUSES.get(cause, cause) if self._indonesian else cause

    def _what(self) -> Iterator[str]:
        openings = self._facts.openings
        for camera, hub in sorted({(shown.camera, shown.hub) for shown in openings}):
            counts = [
                shown.pictures for shown in openings if (shown.camera, shown.hub) == (camera, hub)
            ]
            total = None if None in counts else sum(count or 0 for count in counts)
            yield self._say(_PICTURES, camera=camera, count=self._pictures(total), hub=hub)
        if not openings:
            yield self._say(_NOTHING)
        yield self._say(_NONE_STORED)

    def _when(self) -> Iterator[str]:
        for shown in self._facts.openings:
            yield self._say(_OPENED, camera=shown.camera, since=shown.since, until=shown.until)
            yield self._say(_BY, cause=self._cause(shown.cause), numbers=shown.numbers)
            cause = f": {self._cause(shown.closing_cause)}" if shown.closing_cause else ""
            how = self._say(ENDS[shown.how])
            yield self._say(_CLOSED, how=how, cause=cause, numbers=shown.closing_numbers)
            yield self._say(_COUNT, count=self._pictures(shown.pictures))
        for gap in self._facts.gaps:
            why = self._say(GAPS[gap.kind])
            yield self._say(_NOT_COVERED, since=gap.since, until=gap.until, why=why)

    def _done(self) -> Iterator[str]:
        for deed in self._facts.deeds:
            yield f"{deed.since}  {self._say(HAPPENINGS[deed.kind])}{deed.detail}"
        if not self._facts.deeds:
            yield self._say(_NO_DEED)

    def _proof(self) -> Iterator[str]:
        facts = self._facts
        told = {"count": facts.count, "epoch": facts.epoch, "n": facts.n, "hash": facts.hash}
        yield self._say(_BROKEN if facts.breaks else _HOLDS, **told)
        yield from facts.breaks
