#!/usr/bin/env bash
# Build the example guest: build/myvm is a link to its system path, and
# build/myvm-closure the same closure for hosts without Nix. Quick when nothing
# has changed.
#
# For a user who has neither root nor a nix-daemon it also writes build/myvm.toml,
# the example's definition with that user's store.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ -f build/kernel/VERSION ] || {
  echo "build.sh: error: build/kernel: no guest kernel" >&2
  echo "build.sh: hint: run scripts/setup" >&2
  exit 1
}

busybox=$(realpath "$(command -v busybox)")
scripts/nix nix-build --quiet --arg busyboxProgram "$busybox" -o build/myvm examples/myvm >/dev/null
scripts/closure-info "$(readlink build/myvm)" build/myvm-closure

rm -f build/myvm.toml
if [ "$(id -u)" != 0 ] && [ -d build/nix ]; then
  {
    echo "storeDir = \"$PWD/build/nix/nix/store\""
    sed 's,"../../build/myvm","myvm",' examples/myvm/myvm.toml
  } >build/myvm.toml
fi
