# A small guest, built without nixpkgs and without a network: busybox and the
# kernel are Debian's, and everything else is here. The system path is laid out
# as NixOS lays out a toplevel, so what works with this guest works with a NixOS
# system too.
#
# Builders use nothing of the host but busybox, so this builds with and without
# a sandbox. build.sh calls it the right way.
{
  # See busybox.nix.
  busyboxProgram ? /usr/bin/busybox,
  # An unpacked kernel package with module indexes and a file VERSION, as
  # scripts/setup leaves it.
  kernelTree ? ../../build/kernel,
}:

let
  inherit (builtins) attrNames attrValues baseNameOf elem filter genericClosure
    head isString listToAttrs map placeholder readFile replaceStrings split
    stringLength substring toString;

  inherit (import ./busybox.nix { inherit busyboxProgram; }) busybox build;

  # script makes a path that holds one of the scripts in this folder. Each
  # @name@ in it becomes an attribute of env, and @out@ the path itself.
  script = name: file: env:
    build name
      {
        text = replaceStrings
          ([ "@out@" ] ++ map (n: "@${n}@") (attrNames env))
          ([ (placeholder "out") ] ++ map toString (attrValues env))
          (readFile file);
      } ''
      mkdir -p $out/bin
      printf %s "$text" > $out/bin/${name}
      chmod 0555 $out/bin/${name}
    '';

  version = head (split "\n" (readFile (kernelTree + "/VERSION")));

  linux = build "linux-${version}"
    {
      image = builtins.path {
        name = "vmlinuz-${version}";
        path = kernelTree + "/boot/vmlinuz-${version}";
      };
    } ''
    mkdir $out
    cp $image $out/bzImage
  '';

  # What a guest of mvm may meet; Debian's whole tree would be 90 MB more.
  moduleNames = [
    # Devices that QEMU gives it.
    "virtio_pci" "virtio_mmio" "virtio_blk" "virtio_scsi" "virtio_net"
    "virtio_console" "virtio-rng" "virtio_balloon" "virtio_mem" "virtio_pmem"
    "nd_pmem" "virtio_input" "pvpanic-pci" "pvpanic-mmio" "qemu_fw_cfg"
    "vmw_vsock_virtio_transport" "evdev" "button" "softdog"
    # File systems and what they need.
    "erofs" "squashfs" "btrfs" "xfs" "vfat" "isofs" "overlay" "fuse" "virtiofs"
    "loop" "nls_ascii" "nls_cp437" "nls_iso8859-1" "nls_utf8"
    "libcrc32c" "crc32c-intel" "crc32_generic" "crc32-pclmul"
    "blake2b_generic" "xxhash_generic"
    # Networks.
    "failover" "net_failover" "dummy" "veth" "tun"
  ];

  modulesDir = kernelTree + "/lib/modules/${version}";

  # indexes are depmod's files about all modules; linux-modules keeps their
  # lines about its own. The order in modules.dep is the order to load in.
  indexes = [ "modules.dep" "modules.alias" "modules.softdep" "modules.symbols" ];
  builtin = [ "modules.builtin" "modules.builtin.modinfo" "modules.order" ];

  # deps holds, for each module, its path and those of the modules it needs.
  deps = map (filterWords "[: ]+") (filterWords "\n" (readFile (modulesDir + "/modules.dep")));
  filterWords = separator: s: filter (w: isString w && w != "") (split separator s);
  depsOf = listToAttrs (map (d: { name = head d; value = d; }) deps);
  isNamed = file: elem (replaceStrings [ ".ko" ] [ "" ] (baseNameOf file)) moduleNames;

  # modules are the paths of the modules above and of all that they need.
  modules = map (m: m.key) (genericClosure {
    startSet = map (d: { key = head d; }) (filter (d: isNamed (head d)) deps);
    operator = m: map (key: { inherit key; }) depsOf.${m.key};
  });

  linux-modules = build "linux-${version}-modules"
    {
      inherit builtin indexes modules version;
      source = builtins.path {
        name = "linux-${version}-module-tree";
        path = modulesDir;
        filter = file: type:
          let
            start = stringLength (toString modulesDir) + 1;
            relative = substring start (stringLength file) file;
          in
          type == "directory" || elem relative (modules ++ indexes ++ builtin);
      };
    } ''
    tree=$out/lib/modules/$version
    for m in $modules; do
      mkdir -p "$tree/''${m%/*}"
      cp "$source/$m" "$tree/$m"
    done
    for f in $builtin; do
      cp "$source/$f" "$tree/$f"
    done
    for f in $indexes; do
      awk -v "paths=$modules" '
        BEGIN {
          n = split(paths, path, " ")
          for (i = 1; i <= n; i++) {
            keep[path[i] ":"]
            sub(/.*\//, "", path[i]); sub(/\.ko$/, "", path[i]); gsub(/-/, "_", path[i])
            keep[path[i]]
          }
        }
        $1 in keep || $1 == "softdep" && $2 in keep || $1 == "alias" && $3 in keep
      ' "$source/$f" > "$tree/$f"
    done
  '';

  hello = script "myvm-hello" ./hello.sh { inherit busybox; };
  devices = script "myvm-devices" ./devices.sh { inherit busybox; };
  console = script "myvm-console" ./console.sh { inherit busybox; };

  sw = build "myvm-sw" { } ''
    mkdir -p $out/bin
    for p in ${busybox} ${hello}; do
      for f in $p/bin/*; do
        ln -s "$f" "$out/bin/''${f##*/}"
      done
    done
  '';

  etc = build "myvm-etc" { } ''
    mkdir -p $out/acpi/PWRF
    printf 'root:x:0:0:root:/root:${sw}/bin/sh\n' > $out/passwd
    printf 'root:x:0:\n' > $out/group
    printf 'NAME=myvm\nID=myvm\nPRETTY_NAME="myvm, an example of mvm"\n' > $out/os-release
    printf 'export PATH=/run/current-system/sw/bin HOME=/root PS1="\\h# "\n' > $out/profile
    printf '#!${busybox}/bin/sh\nexec ${busybox}/bin/poweroff\n' > $out/acpi/PWRF/00000080
    chmod 0555 $out/acpi/PWRF/00000080
  '';

in
build "myvm-system"
{
  init = replaceStrings
    [ "@busybox@" "@console@" "@devices@" "@out@" ]
    [ "${busybox}" "${console}" "${devices}" (placeholder "out") ]
    (readFile ./init.sh);
} ''
  mkdir $out
  printf %s "$init" > $out/init
  chmod 0555 $out/init
  ln -s ${linux}/bzImage $out/kernel
  ln -s ${linux-modules} $out/kernel-modules
  printf 'loglevel=4' > $out/kernel-params
  printf %s "$system" > $out/system
  ln -s ${etc} $out/etc
  ln -s ${sw} $out/sw
''
