"""The doctor as the agent has it run for the hub (edge_agent/examiner.py): in the unit's own sandbox, on a booted box."""

from typing import Final

# For a shell of root's; the last line that it prints is the doctor's JSON.
DOCTOR: Final = (
    "sed 's#^ExecStart=.*#ExecStart=-/opt/edge-agent/bin/edge-agent doctor --json --config /etc/edge-agent/box.toml#;"
    " s/^Type=.*/Type=oneshot/; /^Restart/d; /^WatchdogSec/d; /^NotifyAccess/d'"
    " $(systemctl show -P FragmentPath edge-agent) >/run/systemd/system/doctor.service"
    " && systemctl daemon-reload && systemctl start doctor"
    " && journalctl -u doctor -o cat --no-pager | grep '^{' | tail -n 1"
)
