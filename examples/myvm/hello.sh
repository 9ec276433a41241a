#!@busybox@/bin/sh
# Says what this guest is made of.
PATH=@busybox@/bin

read -r uptime _ </proc/uptime
echo "Hello from $(hostname): Linux $(uname -r), up $uptime s."

# The store's last mount is the one that is seen.
awk '$2 == "/nix/store" { type = $3; options = $4 }
  END { sub(/,.*/, "", options); printf "  store   %s, %s, ", type, options }' /proc/self/mounts
# shellcheck disable=SC2012 # names of store paths hold nothing odd
echo "$(ls /nix/store | wc -l) paths"

for disk in /sys/block/vd*; do
  [ -e "$disk/size" ] || continue
  read -r sectors <"$disk/size"
  read -r readonly <"$disk/ro"
  # A store disk is sparse: its size says how far apart things lie, not how big.
  size="$((sectors / 2048)) MiB"
  [ "$readonly" = 0 ] || size=read-only
  echo "  disk    ${disk##*/}, serial \"$(cat "$disk/serial")\", $size"
done

awk '{ kib[$1] = $2 }
  END { printf "  memory  %d of %d MiB free\n", kib["MemAvailable:"] / 1024, kib["MemTotal:"] / 1024 }' /proc/meminfo
