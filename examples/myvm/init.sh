#!@busybox@/bin/sh
# Process 1 of the example guest, from the moment that the store is mounted: it
# completes what the initrd left, then becomes busybox's init, which reaps
# orphans and knows how to end. SIGUSR2 powers the machine off, SIGTERM reboots
# it; so do poweroff, reboot and the ACPI power button.
#
# Words of the kernel command line or arguments that change what it does:
#   myvm.noshell   start no shell on the console
#   myvm.exit=N    end at once with exit status N
#   myvm.panic     make the kernel panic
#   myvm.hang      never end by itself, whatever it is asked
PATH=@busybox@/bin
export PATH
umask 022

# attach mounts a file system unless something is mounted there: TYPE WHERE OPTIONS.
attach() {
  mkdir -p "$2"
  grep -q "^[^ ]* $2 " /proc/self/mounts 2>/dev/null || mount -t "$1" -o "$3" "$1" "$2"
}
attach proc /proc nosuid,nodev,noexec
attach tmpfs /run mode=0755,nosuid,nodev
# First of all, since it is where others find this system's programs.
ln -sfn @out@ /run/current-system
ln -sfn @out@ /run/booted-system
attach sysfs /sys nosuid,nodev,noexec
attach devtmpfs /dev mode=0755,nosuid
attach devpts /dev/pts mode=0620,gid=5,ptmxmode=0666,nosuid,noexec
attach tmpfs /dev/shm mode=1777,nosuid,nodev

mkdir -p /bin /usr/bin /lib /etc /root /var/log /var/tmp /tmp
chmod 1777 /tmp /var/tmp
ln -sfn @busybox@/bin/sh /bin/sh
ln -sfn @busybox@/bin/env /usr/bin/env
ln -sfn @out@/kernel-modules/lib/modules /lib/modules
for f in @out@/etc/*; do
  ln -sfn "$f" "/etc/${f##*/}"
done
ln -sfn /proc/self/mounts /etc/mtab
hostname >/etc/hostname
echo @busybox@/bin/modprobe >/proc/sys/kernel/modprobe
ip link set lo up

mode=shell
for word in $(cat /proc/cmdline) "$@"; do
  case $word in
  myvm.noshell) mode=noshell ;;
  myvm.exit=*) mode=exit status=${word#*=} ;;
  myvm.panic) echo c >/proc/sysrq-trigger ;;
  myvm.hang)
    trap '' TERM INT HUP USR1 USR2
    while :; do sleep 3600; done
    ;;
  esac
done

# The kernel's last console is /dev/console. By its own name it can be a
# controlling terminal, which a shell with job control needs.
console=$(cat /sys/class/tty/console/active)
console=${console##* }
[ "$mode" != shell ] || [ -c "/dev/$console" ] || mode=noshell

{
  echo "null::once:@devices@/bin/myvm-devices"
  case $mode in
  shell) echo "$console::once:@console@/bin/myvm-console" ;;
  exit) echo "null::once:/run/mvm/poweroff $status" ;;
  esac
  echo "null::ctrlaltdel:@busybox@/bin/poweroff"
  # The disks first: a volume under the store's overlay would otherwise be
  # unmounted only in name, and never be marked clean.
  echo "null::shutdown:@busybox@/bin/sh -c 'grep ^/dev/ /proc/mounts | while read -r d m rest; do mount -o remount,ro \$m; done; umount -a -r'"
} >/etc/inittab
exec init
