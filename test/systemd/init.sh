#!@debian@/usr/bin/busybox sh
# The second stage of the system of build.sh, as NixOS has one: it makes a root
# out of the store and executes systemd.
PATH=@debian@/usr/bin
export PATH
umask 022

# systemd makes the usual directories in the root to which it switches.
[ -L /usr ] || rmdir /usr 2>/dev/null
ln -sfn @debian@/usr /usr
for name in bin sbin lib lib64; do
  ln -sfn "usr/$name" "/$name"
done
mkdir -p /etc /root /tmp /var/log /var/tmp /var/empty
cp -R @debian@/etc/. /etc/
chmod -R u+w /etc
ln -sfn /proc/self/mounts /etc/mtab

exec /lib/systemd/systemd "$@"
