"""The command line: finds the command, forbids core dumps, and nothing else; each command's module has its own options and exit codes.

Exit codes: 0 done and well; 1 done, and something is wrong; 2 not done (usage, unreadable file, no agent).
"""

import importlib
import resource
import sys
from typing import Final

from edge_agent import __version__

# Imported only when asked for: `status` must not pay for OpenCV, nor `run` for a terminal library.
COMMANDS: Final = {
    "run": ("edge_agent.app", "run", "the service: read cameras, guard the gate, keep and send"),
    "provision": ("edge_agent.provision", "main", "take over what a person wrote on the card"),
    "check": ("edge_agent.config", "main_check", "name every fault of a configuration file"),
    "doctor": ("edge_agent.doctor", "main", "what is wrong with this box, and what to do"),
    "status": ("edge_agent.status", "main", "show what the agent sees now"),
    "commission": ("edge_agent.commission", "main", "record what a camera is meant to show"),
    "audit": ("edge_agent.audit", "main", "prove what was open when, and give a notice its facts"),
    "journal": (
        "edge_agent.export",
        "main",
        "what waits on the box: stats, check, export to a stick",
    ),
    "hub": ("edge_agent.receiver", "main", "a receiver for hub developers"),
    "demo": ("edge_agent.demo", "main", "a simulated street on this machine, nothing to set up"),
}


def usage() -> str:
    """What `edge-agent --help` prints."""
    lines = [f"  {name:11} {what}" for name, (_, _, what) in COMMANDS.items()]
    return "\n".join(
        (
            "usage: edge-agent COMMAND [OPTION ...]",
            "",
            *lines,
            "",
            "edge-agent COMMAND --help tells the options and exit codes of each.",
        )
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    # A core dump holds pictures that no gate released, and not only the service has such in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if name in {"-V", "--version"}:
        print(f"edge-agent {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"edge-agent: there is no command {name!r}\n{usage()}", file=sys.stderr)
        return 2
    module, function, _ = COMMANDS[name]
    try:
        return int(getattr(importlib.import_module(module), function)(rest))
    except KeyboardInterrupt:
        return 130
