#!/usr/bin/env bash
# Sourced by the scripts beside it, from their own folder: what they all have to agree on. bash.
# shellcheck shell=bash

# Every time stamp in the image, and the earliest time its clock may show. Raised with a release.
SOURCE_DATE_EPOCH=$(cat epoch)
export SOURCE_DATE_EPOCH

# Room for the work: some 2 GB, in memory where there is enough of it, for then it is many times as fast.
if [ -z "${EDGE_TMP:-}" ]; then
  EDGE_TMP=${TMPDIR:-/tmp}
  if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 4000000 ] 2>/dev/null; then EDGE_TMP=/dev/shm; fi
fi
export EDGE_TMP

die() { # one line for a person, and no more
  echo "image: $*" >&2
  exit 1
}

listed() { # the entries of a list with comments
  sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$1"
}

apt_mirror() { # LABEL: where this machine's apt takes such packages; empty if it does not
  command -v apt-get >/dev/null || return 0
  # shellcheck disable=SC2016 # apt's fields
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n "s,^Debian|$1|\\(.*[^/]\\)/*\$,\\1,p" | sort -u | sed -n 1p
}

debian_sources() { # SUITE: apt lines for the packages, from MIRROR (one URI, or "URI SECURITY-URI"), else what this machine's apt uses
  local suite=$1 uris debian security option=
  read -ra uris <<<"${MIRROR:-}"
  debian=${uris[0]:-} security=${uris[1]:-}
  # The mirrors that this machine itself is fed from, if it is a Debian.
  debian=${debian:-$(apt_mirror Debian)}
  security=${security:-$(apt_mirror Debian-Security)}
  debian=${debian:-http://deb.debian.org/debian}
  security=${security:-http://deb.debian.org/debian-security}
  # What a snapshot holds is past its date by nature.
  case "$debian $security" in *snapshot.debian.org*) option='[check-valid-until=no] ' ;; esac
  printf "deb $option%s %s main non-free-firmware\n" "$debian" "$suite" "$debian" "$suite-updates" "$security" "$suite-security"
}

# The card. The id is also FAT's serial number; partitions are found by it (PARTUUID), so a second card in a reader must be another image.
# shellcheck disable=SC2034 # used where this is sourced
EDGE_DISK=eda6e001 BOOT_MIB=256 ROOT_MIB=384 DATA_MIB=64 DATA_UUID=eda6e001-da7a-4e00-8000-000000000001
