#!@busybox@/bin/sh
# A shell on the console. Its exit status becomes the machine's.
. /etc/profile
cd /root || exit
myvm-hello
printf '\nThis is a shell; "exit N" powers the machine off with exit status N.\n'
sh -l
status=$?
if [ -x /run/mvm/poweroff ]; then
  exec /run/mvm/poweroff "$status"
fi
exec poweroff
