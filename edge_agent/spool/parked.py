"""Stores of other places: what a box still owes the hub of the street where it stood, or where its card comes from.

Promises: a store is of one place, the one whose topics its records go out under, and says so itself; one of another place is never
read out by the agent but moved whole into a folder of its own, and moved back when the box is of that place again; a power cut at any
step costs nothing, the next start goes on where it ended, whichever place the box is of by then; nothing is ever written over; a purge
reaches the pictures in each, whatever is wrong with another; all of them together keep within half of the quota, by thinning pictures
and metrics as in any store, in steps beside the journal's work. What the privacy switch and the clock remember goes along with the box.
Not its job: taking them out (edge_agent/export), saying so in words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Memory, Purge
from edge_agent.spool.files import ASIDE, FILE, TROUBLE, DamagedError, remove, size_of, sync
from edge_agent.spool.holdings import Holdings
from edge_agent.spool.peek import Peek, UnreadableError
from edge_agent.spool.pictures import FOLDER as PICTURES
from edge_agent.spool.place import PLACE_FILE, identity_of
from edge_agent.spool.schema import APPLICATION
from edge_agent.spool.times import FACT

if TYPE_CHECKING:
    from edge_agent.spool.store import Store

PARKED: Final = "parked"
_MOVING: Final = ".moving"  # not all of it is there yet, or the box's next store has not taken over
_COMING: Final = ".coming"  # on its way back: not all of it is there any more
# What the box knows and no street: a private box stays private.
_HANDED_ON: Final = (Memory.SWITCH.value, Memory.CLOCK.value, Memory.FLOOR.value, FACT)
_UNKNOWN: Final = "unknown"
_TOLD_MAX: Final = 3


class Parked:
    """All that is parked in a journal's folder. Writer thread; may raise OSError, unless something else is said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all = folder / PARKED
        self._over: list[tuple[Path, int]] = []  # to be thinned, the last one first; to how much
        self._thinned: Store | None = None  # open for that
        self._reached: set[tuple[Path, object]] = set()  # by purges that some other one refused

    # -- moving --

    def go_on(self) -> None:
        """Finish a move that was interrupted, before anything in the folder is opened."""
        self.let_go()
        self._over = []
        found: list[Path] = []
        with suppress(PermissionError):  # it is not ours, then, and no move of ours began there
            found = self._listed()  # any other trouble may hide half of what lies in the folder
        for moving in _ending(_MOVING, found):
            if not any(moving.iterdir()):  # nothing is begun, then
                moving.rmdir()
            elif not (moving / FILE).exists():
                _move(self._folder, moving)
                if not (moving / FILE).exists():  # somebody took it: what is left must not wait
                    self._settle(moving, _MOVING)
        for coming in _ending(_COMING, found):
            self._come(coming)

    def leave(self, place: bytes) -> None:
        """Move the store in the folder, which is closed, out of the way. It counts as moved from its database's move on."""
        self.settle()  # one that lies there whole is not to be written over
        name = place.decode() if identity_of(place) is not None else _UNKNOWN
        moving = self._all / f"{name}{_MOVING}"
        moving.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(self._folder)
        sync(self._all)
        _move(self._folder, moving)

    def bring_back(self, place: bytes) -> bool:
        """Move a parked store of *place* back into the folder, if none is there; whether there was one."""
        if not self._is_free():
            return False
        for parked in self._of(place.decode()):
            # One that root copied there is left to root: a new store is better than none.
            if os.access(parked, os.R_OK | os.W_OK | os.X_OK) and (parked / FILE).is_file():
                coming = self._all / f"{place.decode()}{_COMING}"
                parked.rename(coming)
                sync(self._all)
                self._come(coming)
                return True
        return False

    def is_beginning(self) -> bool:
        """Whether the next store that is opened in the folder will be a new one."""
        return self._folder.is_dir() and self._is_free()

    def _is_free(self) -> bool:
        """Whether nothing lies in the folder; a file that a full disk left empty is nothing."""
        sizes = size_of(self._folder / FILE) + size_of(self._folder / f"{FILE}-wal")
        pictures = self._folder / PICTURES
        return sizes == 0 and not (pictures.is_dir() and any(pictures.iterdir()))

    def _come(self, coming: Path) -> None:
        if (coming / FILE).exists():
            if size_of(self._folder / FILE) > 0:  # by somebody's hand: nothing is written over
                self._settle(coming, _COMING)
                return
            _move(coming, self._folder)
        with suppress(OSError):
            coming.rmdir()
        if coming.exists():
            self._settle(coming, _COMING)

    def handed_on(self) -> dict[str, bytes]:
        """What the box's next store has to remember of those that were just moved away. Never raises."""
        facts: dict[str, bytes] = {}
        for moving in _ending(_MOVING, self._folders()):
            with (
                suppress(UnreadableError, OSError),
                Peek(moving / FILE, application=APPLICATION) as old,
            ):
                facts |= {key: value for key, value in old.facts().items() if key in _HANDED_ON}
        return facts

    def settle(self) -> None:
        """The box's next store has taken over."""
        for moving in _ending(_MOVING, self._folders()):
            if (moving / FILE).exists():
                self._settle(moving, _MOVING)

    def _settle(self, folder: Path, suffix: str) -> None:
        name, number = folder.name.removesuffix(suffix), 1
        final = folder.with_name(name)
        while final.exists():
            number += 1
            final = folder.with_name(f"{name}.{number}")
        folder.rename(final)
        sync(self._all)

    # -- what is there --

    def waiting(self) -> str:
        """How much waits of which place, and where, in one line; "" = nothing. Never raises."""
        told = [line for folder in self._folders() if (line := _told(folder))]
        more = f"; and {len(told) - _TOLD_MAX} more" if len(told) > _TOLD_MAX else ""
        return "; ".join(told[:_TOLD_MAX]) + more

    def bytes(self) -> int:
        """What all of it takes."""
        return sum(_size(folder) for folder in self._folders())

    def plan(self, most: int) -> None:
        """From now on `fit` thins what takes more than its share of *most* bytes."""
        self.let_go()
        folders = self._folders()
        sizes = [(folder, _size(folder)) for folder in folders]
        self._over = [
            (folder, most // len(folders)) for folder, size in sizes if size > most // len(folders)
        ]

    @property
    def over(self) -> bool:
        """Whether `fit` has anything to do."""
        return bool(self._over)

    def fit(self, opener: Callable[[Path, int], Store]) -> None:
        """Thin a little; *opener* opens a folder's store with a quota. Never raises: what cannot be opened stays."""
        folder, share = self._over[-1]
        with suppress(DamagedError, *TROUBLE):
            if self._thinned is None and (folder / FILE).exists():
                self._thinned = opener(folder, share)
            if self._thinned is not None and self._thinned.fit():
                return
        self.let_go()
        self._over.pop()

    def let_go(self) -> None:
        """Close what is open."""
        if self._thinned is not None:
            self._thinned.close()
            self._thinned = None

    def purge(
        self,
        command: Purge,
        boot: str,
        until_at: float,
        opener: Callable[[Path, int], Store],
        *,
        quota: int,
    ) -> None:
        """Destroy what *command* means in them too; of a store that does not let itself be opened, every picture.

        OSError if that could not be done in one of them; it was in all others, which are left alone when it is asked for again.
        """
        self.let_go()

        def destroy(store: Store) -> None:
            store.purge(command, boot, (), until_at=until_at)

        trouble: OSError | None = None
        for folder in self._listed():
            deed = (command, boot, until_at)
            try:
                if (folder, deed) not in self._reached and _has_pictures(folder):
                    _purge(folder, lambda path: opener(path, quota), destroy)
            except OSError as error:
                trouble = error
            else:
                self._reached.add((folder, deed))
        if trouble is not None:
            raise trouble
        self._reached.clear()

    def _listed(self) -> list[Path]:
        try:
            with os.scandir(self._all) as found:
                # What a link leads to is not ours: the journal itself, perhaps.
                return sorted(Path(one.path) for one in found if one.is_dir(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _folders(self) -> list[Path]:
        with suppress(OSError):
            return self._listed()
        return []

    def _of(self, name: str) -> list[Path]:
        """Those of one place; first the one that left last, if its move was cut short."""
        found = [path for path in self._folders() if path.name.split(".")[0] == name]
        return sorted(found, key=lambda path: not path.name.endswith(_MOVING))


def _ending(suffix: str, folders: Iterable[Path]) -> list[Path]:
    return [path for path in folders if path.name.endswith(suffix)]


def _purge(folder: Path, opener: Callable[[Path], Store], destroy: Callable[[Store], None]) -> None:
    try:
        store = opener(folder)
        try:
            destroy(store)
        finally:
            store.close()
    except (DamagedError, *TROUBLE):
        for path in (folder / PICTURES, *folder.glob(f"{ASIDE}*")):
            if path.exists():
                remove(path)
        sync(folder)


def _move(source: Path, target: Path) -> None:
    """The store with all that belongs to it, its database last: where that is, the rest is."""
    remove(source / f"{FILE}-shm")
    for path in _belongings(source):
        path.rename(target / path.name)
    sync(target)
    with suppress(FileNotFoundError):
        (source / FILE).rename(target / FILE)
    sync(target)
    sync(source)


def _belongings(folder: Path) -> Iterator[Path]:
    beside = (folder / name for name in (f"{FILE}-wal", f"{FILE}-journal", PICTURES, PLACE_FILE))
    yield from (path for path in (*beside, *folder.glob(f"{ASIDE}*")) if path.exists())


def _told(folder: Path) -> str:
    said = identity_of(folder.name.split(".")[0].encode("utf-8", "replace"))
    place = _UNKNOWN if said is None else "/".join(astuple(said))
    where = str(folder) if str(folder).isprintable() else ascii(str(folder))
    try:
        if not (folder / FILE).exists() and not _has_pictures(folder):
            return ""
        with Holdings(str(folder)) as holdings:
            records = sum(shelf.records for shelf in holdings.shelves())
    except Exception:  # noqa: BLE001 - whatever a person put there, it must not keep the journal from opening
        return f"records of {place} that cannot be counted in {where}"
    return f"{records} records of {place} in {where}" if records else ""


def _size(folder: Path) -> int:
    """As far as the disk tells."""
    size = 0
    with suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                size += _size(Path(entry.path))
            else:
                size += entry.stat(follow_symlinks=False).st_size
    return size


def _has_pictures(folder: Path) -> bool:
    pictures = folder / PICTURES
    return any(folder.glob(f"{ASIDE}*")) or (pictures.is_dir() and any(pictures.iterdir()))
