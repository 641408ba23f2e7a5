#!/usr/bin/env python3
"""What the image is made of: `inventory ROOT SITE SUITE VERSION OUT` writes manifest.tsv, sbom.cdx.json and added.txt there.

Read from the finished root: dpkg's own status file, what was only unpacked (unpacked.tsv), and each wheel's METADATA.
manifest.tsv is the record: kind, name, version, architecture, origin (source package and version, or the wheel's sha256).
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

# As wheels.py leaves it out.
LEFT_OUT = {"setuptools"}


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """dpkg's status file, one package at a time."""
    for block in text.split("\n\n"):
        if block.strip():
            yield dict(HeaderParser().parsestr(block).items())


def closure(packages: dict[str, dict[str, str]]) -> set[str]:
    """Debian's minimum: the essential packages, apt, and what these need."""
    provided = {name: name for name in packages}
    for name, each in packages.items():
        for one in each.get("Provides", "").split(","):
            provided.setdefault(one.split("(")[0].strip(), name)
    todo = [
        name for name, each in packages.items() if each.get("Essential") == "yes" or name == "apt"
    ]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for field in ("Depends", "Pre-Depends"):
            for group in packages[name].get(field, "").split(","):
                names = [one.split("(")[0].split(":")[0].strip() for one in group.split("|")]
                todo += [provided[one] for one in names if one in provided][:1]
    return found


def all_used(sums: dict[str, str]) -> None:
    """End here if a wheel was fetched and is not in the root."""
    if left := set(sums) - LEFT_OUT:
        sys.exit(f"fetched, and not in the root: {', '.join(sorted(left))}")


def main() -> None:
    """Read, write."""
    root, site, suite, version, out = (
        Path(sys.argv[1]),
        sys.argv[2],
        sys.argv[3],
        sys.argv[4],
        Path(sys.argv[5]),
    )
    packages = {
        each["Package"]: each
        for each in stanzas((root / "var/lib/dpkg/status").read_text())
        if each.get("Status", "").endswith(" installed")
    }
    rows: list[tuple[str, str, str, str, str]] = []
    parts: list[dict[str, object]] = []
    for name, each in sorted(packages.items()):
        source, _, rest = each.get("Source", name).partition(" ")
        made = rest.strip("()") or each["Version"]
        rows.append(("deb", name, each["Version"], each["Architecture"], f"{source}={made}"))
        parts.append(
            {
                "type": "library",
                "name": name,
                "version": each["Version"],
                "purl": f"pkg:deb/debian/{name}@{each['Version']}?arch={each['Architecture']}&distro={suite}",
            }
        )
    for line in (root / "usr/share/edge-image/unpacked.tsv").read_text().splitlines():
        name, made, arch = line.split("\t")
        rows.append(("deb-unpacked", name, made, arch, name))
        parts.append(
            {
                "type": "firmware",
                "name": name,
                "version": made,
                "purl": f"pkg:deb/debian/{name}@{made}?arch={arch}&distro={suite}",
            }
        )
    sums = {}
    for line in (root / site).parent.joinpath("wheels.sha256").read_text().splitlines():
        digest, wheel = line.split()
        sums[wheel.split("-")[0].lower().replace("_", "-")] = digest
    for described in sorted((root / site).glob("*.dist-info/METADATA")):
        read = HeaderParser().parsestr(described.read_text())
        name = str(read["Name"]).lower().replace("_", "-")
        digest = sums.pop(name, "")
        if not digest and name != "edge-agent":
            sys.exit(f"{name} is in the root, and no wheel of it was fetched")
        rows.append(
            (
                "wheel",
                name,
                str(read["Version"]),
                "arm64",
                f"sha256={digest}" if digest else "this repository",
            )
        )
        part: dict[str, object] = {
            "type": "application" if name == "edge-agent" else "library",
            "name": name,
            "version": str(read["Version"]),
            "purl": f"pkg:pypi/{name}@{read['Version']}",
        }
        if digest:
            part["hashes"] = [{"alg": "SHA-256", "content": digest}]
        licence = read["License-Expression"] or read["License"]
        if licence and len(licence) < 100:
            part["licenses"] = [{"license": {"name": str(licence)}}]
        parts.append(part)

    all_used(sums)
    manifest = "kind\tname\tversion\tarchitecture\torigin\n" + "".join(
        "\t".join(row) + "\n" for row in rows
    )
    (out / "manifest.tsv").write_text(manifest)
    made_at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, hashlib.sha256(manifest.encode()).hexdigest())}",
        "version": 1,
        "metadata": {
            "timestamp": made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "operating-system",
                "name": f"edge-agent-image-{suite}",
                "version": version,
            },
        },
        "components": parts,
    }
    (out / "sbom.cdx.json").write_text(json.dumps(sbom, indent=1) + "\n")

    least = closure(packages)
    kib = {name: int(each.get("Installed-Size", "0")) for name, each in packages.items()}
    more = sorted((name for name in packages if name not in least), key=lambda name: -kib[name])
    ours, theirs = (sum(kib[name] for name in names) // 1024 for names in (more, least))
    (out / "added.txt").write_text(
        f"to Debian's minimum ({len(least)} packages, {theirs} MiB by their own word):"
        f" {len(more)} packages, {ours} MiB before what packages/exclude leaves out\n"
    )
    (out / "packages-by-size.txt").write_text(
        "".join(
            f"{kib[name]:8} KiB  {name}{'' if name not in least else '  (Debian minimum)'}\n"
            for name in sorted(kib, key=lambda n: -kib[n])
        )
    )


if __name__ == "__main__":
    main()
