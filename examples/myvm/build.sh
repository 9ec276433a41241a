#!/usr/bin/env bash
# Build the example guest: build/myvm is its system path, and build/myvm-closure
# the same closure as a directory with store-paths and registration (nixpkgs'
# closureInfo), for hosts without Nix. Quick when nothing has changed.
#
# As root it needs no nix-daemon. Another user needs one, or else gets a store of
# their own in build/nix, for which the kernel must allow user namespaces.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ -f build/kernel/VERSION ] || {
  echo "build.sh: error: build/kernel: no guest kernel" >&2
  echo "build.sh: hint: run scripts/setup" >&2
  exit 1
}

# No channel, no network, no build users: all that is needed is here.
export NIX_PATH='' NIX_CONFIG='substituters =
build-users-group =
sandbox = false'
store=()
if [ "$(id -u)" != 0 ]; then
  if [ -S /nix/var/nix/daemon-socket/socket ]; then
    export NIX_REMOTE=daemon
  else
    store=(--store "$PWD/build/nix")
  fi
fi

mkdir -p build
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
