#!/usr/bin/env bash
# Make a guest out of this machine's own systemd, which is Debian's: a system
# laid out as NixOS lays one out, with systemd as its init, and an initrd whose
# init is systemd too.
#
#   build/systemd/initrd    the initrd, with the modules of build/kernel
#   build/systemd/system    a link to the system's store path
#   build/systemd/closure   its closure, for hosts without Nix
#
# Quick when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin

version=$(cat build/kernel/VERSION) || {
  echo "build.sh: error: build/kernel: no guest kernel" >&2
  echo "build.sh: hint: run scripts/setup" >&2
  exit 1
}
out=build/systemd
stamp=$({
  cat test/systemd/* examples/myvm/busybox.nix build/kernel/VERSION
  dpkg-query -W systemd udev kmod util-linux libc6 nix-bin busybox-static
} | sha256sum)
if [ "$stamp" = "$(cat $out/stamp 2>/dev/null)" ] && [ -e $out/system/init ]; then
  exit
fi
rm -rf $out
mkdir -p $out
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# merged prints a path as it is on a system where /bin and the like are links.
merged() {
  case $1 in
  /usr/*) echo "$1" ;;
  *) echo "/usr$1" ;;
  esac
}

# take TREE FILE... copies files to where they are, and the libraries that
# programs need.
take() {
  local tree=$1 f to
  shift
  for f in "$@"; do
    to=$tree$(merged "$f")
    [ ! -e "$to" ] || continue
    mkdir -p "${to%/*}"
    cp -L "$f" "$to"
    # shellcheck disable=SC2046
    take "$tree" $(ldd "$f" 2>/dev/null | grep -o '/[^ ]*')
  done
}

# units TREE NAME... copies units, and who wants them.
units() {
  local tree=$1 dir=/usr/lib/systemd/system name wants
  shift
  mkdir -p "$tree$dir"
  for name in "$@"; do
    cp -P "$dir/$name" "$tree$dir/"
  done
  for name in "$@"; do
    for wants in "$dir"/*.wants/"$name"; do
      [ -e "$wants" ] || continue
      wants=${wants%/*}
      mkdir -p "$tree$wants"
      ln -sfn "../$name" "$tree$wants/$name"
    done
  done
}

# base TREE makes what the initrd and the system have in common.
base() {
  local tree=$1 applet
  take "$tree" /usr/lib/systemd/systemd{,-journald,-shutdown,-modules-load,-sysctl,-fsck} \
    /usr/bin/{systemctl,journalctl,systemd-creds,systemd-tmpfiles,udevadm,kmod,mount,umount,findmnt} \
    /usr/sbin/{fsck,fsck.ext4,blkid} /usr/bin/busybox
  ln -s ../../bin/udevadm "$tree/usr/lib/systemd/systemd-udevd"
  for applet in modprobe insmod; do
    ln -s ../bin/kmod "$tree/usr/sbin/$applet"
  done
  for applet in sh awk cat cp cut date dd echo env grep head id kill ln ls mkdir mv ps readlink rm rmdir \
    sed sha256sum sleep sort stat sync tail test touch tr true uname wc; do
    [ -e "$tree/usr/bin/$applet" ] || ln -s busybox "$tree/usr/bin/$applet"
  done
  mkdir -p "$tree/usr/lib/udev/rules.d" "$tree/etc"
  cp /usr/lib/udev/rules.d/{50-udev-default,60-block,60-persistent-storage,80-drivers,99-systemd}.rules \
    "$tree/usr/lib/udev/rules.d/"
  units "$tree" {sysinit,basic,local-fs,local-fs-pre,swap,paths,sockets,timers,slices,emergency,rescue,shutdown,umount,final}.target \
    {poweroff,reboot,halt}.target systemd-{poweroff,reboot,halt}.service \
    systemd-journald{.service,.socket,-dev-log.socket} \
    systemd-udevd{.service,-control.socket,-kernel.socket} systemd-udev-trigger.service \
    systemd-{modules-load,sysctl,tmpfiles-setup-dev}.service systemd-fsck@.service \
    {emergency,rescue}.service
  # Root, and those whom udev's rules and journald name.
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$tree/etc/passwd"
  printf '%s\n' root:x:0: adm:x:4: tty:x:5: disk:x:6: lp:x:7: kmem:x:15: dialout:x:20: cdrom:x:24: \
    tape:x:26: audio:x:29: video:x:44: input:x:101: sgx:x:102: kvm:x:103: render:x:104: \
    systemd-journal:x:105: nogroup:x:65534: >"$tree/etc/group"
}

# root TREE makes the links of a system whose programs are all in /usr.
root() {
  local name
  for name in bin sbin lib lib64; do
    ln -s "usr/$name" "$1/$name"
  done
}

say() { printf 'build.sh: %s\n' "$*"; }

say "make an initrd of systemd"
tree=$work/initrd
base "$tree"
root "$tree"
mkdir -p "$tree"/{dev,proc,run,sys,sysroot,tmp,var}
ln -s usr/lib/systemd/systemd "$tree/init"
printf 'ID=test\nNAME="initrd of the test"\nVERSION_ID=1\n' >"$tree/etc/initrd-release"
take "$tree" /usr/lib/systemd/system-generators/systemd-fstab-generator
units "$tree" initrd{,-fs,-root-fs,-root-device,-usr-fs,-switch-root}.target \
  initrd-{cleanup,parse-etc,switch-root,udevadm-cleanup-db}.service
switch=/usr/lib/systemd/system/initrd-switch-root.target.wants
mkdir -p "$tree$switch"
ln -s ../initrd-udevadm-cleanup-db.service "$tree$switch/"
for module in virtio_mmio virtio_pci virtio_blk erofs ext4 overlay autofs4; do
  modprobe -d build/kernel -S "$version" --show-depends "$module" 2>/dev/null || true
done | sed -n 's/^insmod //p' | sort -u | while read -r file; do
  to=$tree/usr/lib/modules/${file##*/lib/modules/}
  mkdir -p "${to%/*}"
  cp "$file" "$to"
done
cp build/kernel/lib/modules/"$version"/modules.{builtin,builtin.modinfo,order} "$tree/usr/lib/modules/$version/"
depmod -b "$tree" "$version"
(cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --owner=0:0 --quiet) |
  zstd -q -3 >$out/initrd

say "make a system of systemd"
tree=$work/debian
base "$tree"
take "$tree" /usr/sbin/agetty /usr/bin/nix
ln -s nix "$tree/usr/bin/nix-store"
units "$tree" {multi-user,getty,graphical}.target console-getty.service systemd-tmpfiles-setup.service
wants=/usr/lib/systemd/system/getty.target.wants
mkdir -p "$tree$wants"
ln -s ../console-getty.service "$tree$wants/"
ln -s multi-user.target "$tree/usr/lib/systemd/system/default.target"
printf 'ID=test\nNAME="systemd of the test"\nPRETTY_NAME="systemd of the test"\n' >"$tree/etc/os-release"
printf 'systemd of the test \\l\n\n' >"$tree/etc/issue"
printf 'uninitialized\n' >"$tree/etc/machine-id"

scripts/nix nix-build --quiet --arg tree "$tree" \
  --arg busyboxProgram "$(realpath "$(command -v busybox)")" -o $out/system test/systemd >/dev/null
scripts/closure-info "$(readlink $out/system)" $out/closure
echo "$stamp" >$out/stamp
