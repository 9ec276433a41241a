# The system of build.sh, which makes the tree: Debian's systemd with what it
# needs, in usr and etc. Laid out as NixOS lays out a toplevel.
{
  tree,
  busyboxProgram ? /usr/bin/busybox,
}:

let
  inherit (import ../../examples/myvm/busybox.nix { inherit busyboxProgram; }) build;
  inherit (builtins) replaceStrings readFile;

  debian = builtins.path {
    name = "debian-systemd";
    path = tree;
  };
in
build "systemd-system"
{
  init = replaceStrings [ "@debian@" ] [ "${debian}" ] (readFile ./init.sh);
} ''
  mkdir -p $out/sw/bin
  printf %s "$init" > $out/init
  for f in ${debian}/usr/bin/*; do
    ln -s "$f" "$out/sw/bin/''${f##*/}"
  done
  # A program of Nix's own making has its libraries in the store, and works
  # before there is a /lib64. Debian's has to be told.
  rm $out/sw/bin/nix-store
  cat > $out/sw/bin/nix-store <<.
  #!${debian}/usr/bin/busybox sh
  exec ${debian}/usr/lib64/ld-linux-x86-64.so.2 --argv0 nix-store \
    --library-path ${debian}/usr/lib/x86_64-linux-gnu ${debian}/usr/bin/nix "\$@"
  .
  chmod 0555 $out/init $out/sw/bin/nix-store
''
