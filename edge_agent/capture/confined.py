"""What a process that reads cameras may not do: outlive its parent, take all memory, leave a picture in a core dump.

Not its job: what the process reads.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Final

from edge_agent.capture.pipe import Assignment

# Measured at 8 cameras: 490 MB of address space, 59 MiB of memory. What a hostile picture may take lies between.
_MEMORY_BYTES: Final = 600 << 20
_MEMORY_PER_CAMERA_BYTES: Final = 32 << 20
_NICE: Final = 5
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4


def confine(assignment: Assignment) -> None:
    """Bind this process to its parent and its bounds, before it touches anything of a camera's."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    if os.getppid() != assignment.parent_pid:
        sys.exit("the supervisor ended before its worker began")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _MEMORY_BYTES + _MEMORY_PER_CAMERA_BYTES * len(assignment.cameras)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.nice(_NICE)
