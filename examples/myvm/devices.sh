#!@busybox@/bin/sh
# What udev and a network daemon do elsewhere: load drivers for the devices that
# are there, heed the power button, and ask for an address on every interface.
# It runs beside the console, so that no boot waits for it. As udhcpc's script,
# it is called again with what happened to the lease.
# shellcheck disable=SC2154 # udhcpc says these in the environment
PATH=@busybox@/bin
export PATH

case ${1-} in
bound | renew)
  ip -4 addr flush dev "$interface"
  ip addr add "$ip/$mask" dev "$interface"
  for r in ${router-}; do
    ip route replace default via "$r" dev "$interface"
  done
  for d in ${dns-}; do
    echo "nameserver $d"
  done >/etc/resolv.conf
  exit
  ;;
?*) exit ;;
esac

find /sys/devices -name modalias -exec cat '{}' + | sort -u | xargs modprobe -abq
modprobe -q evdev # the power button's driver, not the device, asks for it

if [ -e /dev/input/event0 ]; then
  acpid
fi
for link in /sys/class/net/*; do
  [ -e "$link/device" ] || continue
  ip link set "${link##*/}" up
  udhcpc -n -q -t 4 -T 2 -i "${link##*/}" -s "$0" >/dev/null 2>&1 &
done
wait
