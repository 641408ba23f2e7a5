#!/bin/sh
# How /data's file system is made: by image-build/build for the card, by data-partition where a card has none. Sourced by both.
# shellcheck shell=sh disable=SC2034 # what it sets is for whoever sources it

# An inode for each 128 KiB: the agent has dozens of files. mke2fs would go by the 64 MiB that the partition has in the image, where
# each file is thought to be small, and keep that up as it grows: a gigabyte of empty tables on a card of 32 GB, all of it written.
# remount-ro: a file system that is known to be wrong is not written on; e2fsck mends it at the next start.
ext4_options='-t ext4 -b 4096 -i 131072 -J size=16 -L EDGEDATA -m 1 -e remount-ro'
# The largest card it can grow to while mounted: 64 Mi blocks, 256 GiB.
ext4_extended='resize=67108864'
