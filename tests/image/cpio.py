"""A cpio archive (newc) that is appended to an initrd: how the test's own files get into the machine, the image being left alone."""

from collections.abc import Mapping


def segment(files: Mapping[str, bytes]) -> bytes:
    """*files* by path, and their folders. Linux unpacks what stands behind an initrd over what stands before it."""
    folders: set[str] = set()
    for path in files:
        parts = path.split("/")[:-1]
        folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    out = bytearray()
    number = 1
    for name in sorted(folders):
        out += _entry(name, b"", number, 0o040755)
        number += 1
    for name, content in sorted(files.items()):
        out += _entry(name, content, number, 0o100755)
        number += 1
    out += _entry("TRAILER!!!", b"", 0, 0)
    return bytes(out)


def _entry(name: str, content: bytes, number: int, mode: int) -> bytes:
    path = name.encode() + b"\0"
    words = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % word for word in words)
    return _padded(head + path) + _padded(content)


def _padded(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % 4)
