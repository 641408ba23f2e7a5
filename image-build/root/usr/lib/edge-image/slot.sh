#!/bin/sh
# Which root slot the box starts from. Sourced by the initrd and by `edge-slot`: POSIX, and busybox for the rest.
#
# The record is one line, `edgeslot SEQ GOOD TRIAL LEFT SUM`, in one sector, and there are two of them, written in turn, 1 MiB
# and 2 MiB into the card, before the first partition (which starts at 4 MiB). A cut while one is written leaves the
# other. No file system is involved: neither a damaged /data nor a laptop that rewrites the boot partition can change it.
# With no whole record the box starts from A.
# shellcheck shell=sh disable=SC2034 # what it sets is for whoever sources it

slot_sum() { # TEXT: 16 hex digits
  printf '%s' "$1" | busybox sha256sum | cut -c 1-16
}

slot_read() { # DISK: sets slot_seq, slot_good, slot_trial (A, B or -) and slot_left
  slot_seq=0 slot_good=A slot_trial=- slot_left=0
  for slot_at in 2048 4096; do
    slot_line=$(busybox dd if="$1" bs=512 skip=$slot_at count=1 2>/dev/null | tr -d '\0' | busybox head -n 1)
    # shellcheck disable=SC2086 # words, on purpose
    set -- "$1" $slot_line
    [ "$#" = 7 ] && [ "$2" = edgeslot ] || { set -- "$1"; continue; }
    [ "$7" = "$(slot_sum "$2 $3 $4 $5 $6")" ] || { set -- "$1"; continue; }
    if [ "$3" -gt "$slot_seq" ]; then slot_seq=$3 slot_good=$4 slot_trial=$5 slot_left=$6; fi
    set -- "$1"
  done
}

slot_write() { # DISK GOOD TRIAL LEFT: the next record, on the card when this returns; fails if it is not
  slot_read "$1"
  slot_text="edgeslot $((slot_seq + 1)) $2 $3 $4"
  slot_at=$((2048 + 2048 * ((slot_seq + 1) % 2)))
  printf '%-511s\n' "$slot_text $(slot_sum "$slot_text")" |
    busybox dd of="$1" bs=512 seek=$slot_at count=1 conv=notrunc,fsync 2>/dev/null || return 1
  slot_seq=$((slot_seq + 1)) slot_good=$2 slot_trial=$3 slot_left=$4
}
