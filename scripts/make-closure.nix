# A closure of Debian packages, one store path each, which refer to each other as
# the packages depend on each other. scripts/make-closure calls it.
{
  busyboxProgram,
  # A file whose lines are "PACKAGE FILE DEPENDENCY…", and a directory with those
  # files. A package depends on packages of earlier lines only.
  graph,
  debs,
  # Change a few kilobytes (etc and the system path), or one package.
  etcRevision ? "1",
  packageRevision ? "1",
  package ? "git",
}:

let
  inherit (builtins) attrNames elemAt filter foldl' getAttr head isString
    map readFile removeAttrs split tail;
  inherit (import ../examples/myvm/busybox.nix { inherit busyboxProgram; }) busybox build;

  filterWords = separator: s: filter (w: isString w && w != "") (split separator s);
  lines = map (filterWords " ") (filterWords "\n" (readFile graph));

  unpack = done: line:
    let
      name = head line;
      revision = if name == package then packageRevision else "1";
    in
    done // {
      ${name} = build name
        {
          inherit revision;
          needs = map (d: getAttr d done) (tail (tail line));
          deb = builtins.path {
            name = "${name}.deb";
            path = debs + "/${elemAt line 1}";
          };
        } ''
        mkdir -p $out/nix-support
        # Nix forbids its builders to set the setuid bit.
        ar -p $deb data.tar.xz | unxz | tar x --no-same-permissions -C $out
        echo $needs > $out/nix-support/propagated-build-inputs
        echo $revision > $out/nix-support/revision
      '';
    };
  all = foldl' unpack { } lines;

  # The package that is replaced is not in here, so that it is replaced alone.
  system-path = build "system-path"
    { paths = map (n: getAttr n all) (attrNames (removeAttrs all [ package ])); } ''
    mkdir $out
    for p in $paths; do
      for dir in bin sbin lib usr; do
        [ ! -d $p/$dir ] || cp -rs $p/$dir $out/
      done
    done
  '';

  etc = build "etc" { inherit etcRevision; } ''
    mkdir $out
    seq 600 | sed "s/.*/service-& of revision $etcRevision/" > $out/services
    echo $etcRevision > $out/revision
  '';
in
build "system"
{
  replaced = all.${package} or "";
} ''
  mkdir $out
  ln -s ${system-path} $out/sw
  ln -s ${etc} $out/etc
  echo $replaced > $out/packages
  printf '#!${busybox}/bin/sh\nexec ${busybox}/bin/init\n' > $out/init
  chmod +x $out/init
''
