"""The image, made beside whatever tests run before it is needed: by idle processors alone, and never left behind.

Some minutes with a cold cache, half a minute to two with a warm one (image-build/README.md).
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# Other tests look at the clock: this one takes only what they leave.
IDLE: Final = (
    "setpriv",
    "--pdeathsig",
    "TERM",
    "nice",
    "-n",
    "19",
    "ionice",
    "-c",
    "3",
    "chrt",
    "--idle",
    "0",
)
LAST: Final = 3000  # characters of the log that a failure shows


class Making:
    """One call of `image-build/build`; its word goes into *log*, the image into *out*."""

    def __init__(self, suite: str, out: Path, log: Path) -> None:
        self._suite, self._out, self._log = suite, out, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [
                    *IDLE,
                    str(ROOT / "image-build/build"),
                    suite,
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "OUT": str(out)},
                start_new_session=True,
            )

    def image(self, within_s: float) -> Path:
        """Wait for it."""
        try:
            status = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.end()
            status = -1
        assert status == 0, (
            f"image-build/build {self._suite} ended with {status}; {self._log} ends:\n"
            f"{self._log.read_text(errors='replace')[-LAST:]}"
        )
        (found,) = self._out.glob("*.img")
        return found

    def end(self) -> None:
        """Whatever still works for it ends, too; in good order first, so that nothing is left in memory."""
        for word, patience_s in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, word)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
