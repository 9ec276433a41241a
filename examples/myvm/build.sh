#!/usr/bin/env bash
# Build the example guest: build/myvm is its system path, and build/myvm-closure
# the same closure as a directory with store-paths and registration (nixpkgs'
# closureInfo), for hosts without Nix. Quick when nothing has changed.
#
# As root it needs no nix-daemon. Another user needs one, or else gets a store of
# their own in build/nix, where the kernel allows user namespaces; build/myvm.toml
# is then the example's definition with that store.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ -f build/kernel/VERSION ] || {
  echo "build.sh: error: build/kernel: no guest kernel" >&2
  echo "build.sh: hint: run scripts/setup" >&2
  exit 1
}

# No channel and no network: all that is needed is here.
export NIX_PATH='' NIX_CONFIG='substituters ='
store=()
rm -f build/myvm.toml
if [ "$(id -u)" = 0 ]; then
  NIX_CONFIG+=$'\nbuild-users-group =\nsandbox = false'
elif [ -S /nix/var/nix/daemon-socket/socket ]; then
  export NIX_REMOTE=daemon
else
  store=(--store "$PWD/build/nix")
  {
    echo "storeDir = \"$PWD/build/nix/nix/store\""
    sed 's,"../../build/myvm","myvm",' examples/myvm/myvm.toml
  } >build/myvm.toml
fi

busybox=$(realpath "$(command -v busybox)")
nix-build "${store[@]}" --quiet --arg busyboxProgram "$busybox" -o build/myvm examples/myvm >/dev/null
system=$(readlink build/myvm)

closure=build/myvm-closure
if [ "$(tail -n 1 "$closure/roots" 2>/dev/null)" = "$system" ]; then
  exit
fi
rm -rf "$closure" "$closure.new"
mkdir "$closure.new"
nix-store "${store[@]}" --query --requisites "$system" | LC_ALL=C sort >"$closure.new/store-paths"
# Without derivers, which are no part of the closure: the same on every host.
xargs nix-store "${store[@]}" --dump-db <"$closure.new/store-paths" |
  awk 'at == 3 { $0 = "" } at == 4 { left = $0 } { print; at++ }
    at > 4 && left-- == 0 { at = 0 }' >"$closure.new/registration"
echo "$system" >"$closure.new/roots"
mv "$closure.new" "$closure"
