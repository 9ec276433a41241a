{
  boot = {
    initrd = {
      systemd = {
        mounts = [
          {
            after = [ "rw-store.service" ];
            before = [ "initrd-fs.target" ];
            options = "lowerdir=/sysroot/nix/.ro-store,upperdir=/sysroot/srv/my $rw 50%%/store,workdir=/sysroot/srv/my $rw 50%%/work";
            requires = [ "rw-store.service" ];
            type = "overlay";
            unitConfig = {
              RequiresMountsFor = "/sysroot//nix/.ro-store";
            };
            wantedBy = [ "initrd-fs.target" ];
            what = "overlay";
            where = "/sysroot/nix/store";
          }
        ];
        services = {
          rw-store = {
            serviceConfig = {
              ExecStart = "/bin/mkdir -p -m 0755 \"/sysroot/srv/my $$rw 50%%/store\" \"/sysroot/srv/my $$rw 50%%/work\" /sysroot/nix/store";
              Type = "oneshot";
            };
            unitConfig = {
              DefaultDependencies = false;
              RequiresMountsFor = "\"/sysroot/srv/my $rw 50%%\"";
            };
          };
        };
      };
    };
  };
  fileSystems = {
    "/" = {
      device = "rootfs";
      fsType = "tmpfs";
      neededForBoot = true;
      options = [ "size=50%,mode=0755" ];
    };
    "/.hidden/é-x" = {
      device = "/dev/disk/by-id/virtio-mvm-a_b-10a3f9f2";
      fsType = "ext4";
    };
    "/nix/.ro-store" = {
      device = "/dev/disk/by-id/virtio-nix-store";
      fsType = "erofs";
      neededForBoot = true;
      noCheck = true;
      options = [ "x-systemd.requires=systemd-modules-load.service" "ro" ];
    };
    "/nix/store" = {
      depends = [ "/nix/.ro-store" "/srv/my $rw 50%" ];
      device = "overlay";
      fsType = "overlay";
      neededForBoot = true;
      options = [ "lowerdir=/nix/.ro-store" "upperdir=/srv/my $rw 50%/store" "workdir=/srv/my $rw 50%/work" ];
    };
    "/srv/\"a\"\\b'c,d" = {
      device = "/dev/disk/by-id/virtio-disk-2";
      fsType = "ext4";
    };
    "/srv/#" = {
      device = "#tag 1";
      fsType = "9p";
      options = [ "trans=virtio" "version=9p2000.L" "msize=65536" "x-systemd.requires=systemd-modules-load.service" ];
    };
    "/srv/\${x}#1" = {
      device = "/dev/disk/by-id/virtio-mvm-a_long_-77ac70a9";
      fsType = "btrfs";
    };
    "/srv/my $rw 50%" = {
      autoResize = true;
      device = "/dev/disk/by-id/virtio-disk-1";
      fsType = "ext4";
      neededForBoot = true;
    };
  };
  systemd = {
    mounts = [
      {
        overrideStrategy = "asDropin";
        unitConfig = {
          DefaultDependencies = false;
        };
        what = "store";
        where = "/nix/store";
      }
    ];
  };
}
