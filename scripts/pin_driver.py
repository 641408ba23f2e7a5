#!/usr/bin/env python3
"""Exit code 0 if this Python has the real pin driver, lgpio 0.2.2 or newer; else 1, and what it has instead.

For CPython 3.13 there is no wheel of lgpio, and an unpinned pip takes 0.0.0.2: an empty file that imports without a word, on a box
whose privacy switch would then be read by nobody. LG_WD must name a folder that may be written: lgpio makes a fifo at import.
"""

import sys


def fault() -> str:
    """What is wrong with the driver; empty = nothing."""
    try:
        import lgpio  # noqa: PLC0415 - its absence is an answer
    except Exception as error:  # noqa: BLE001 - whatever it raises, it is not usable
        return f"lgpio cannot be imported: {error}"
    if not callable(getattr(lgpio, "gpiochip_open", None)):
        return f"{lgpio.__file__} is an empty stub, not the pin driver"
    version = lgpio.get_module_version()  # as "lgpio.py_0.2.2.0"
    numbers = tuple(int(part) for part in version.rpartition("_")[2].split("."))
    return "" if numbers >= (0, 2, 2) else f"{version} is too old: 0.2.2 or newer is needed"


if __name__ == "__main__":
    sys.exit(fault() or 0)
