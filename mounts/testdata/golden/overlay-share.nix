{
  boot = {
    initrd = {
      systemd = {
        mounts = [
          {
            after = [ "rw-store.service" ];
            before = [ "initrd-fs.target" ];
            options = "lowerdir=/sysroot/mnt/store,upperdir=/sysroot/persist/rw/store,workdir=/sysroot/persist/rw/work,userxattr";
            requires = [ "rw-store.service" ];
            type = "overlay";
            unitConfig = {
              RequiresMountsFor = "/sysroot//mnt/store";
            };
            wantedBy = [ "initrd-fs.target" ];
            what = "overlay";
            where = "/sysroot/nix/store";
          }
        ];
        services = {
          rw-store = {
            serviceConfig = {
              ExecStart = "/bin/mkdir -p -m 0755 /sysroot/persist/rw/store /sysroot/persist/rw/work /sysroot/nix/store";
              Type = "oneshot";
            };
            unitConfig = {
              DefaultDependencies = false;
              RequiresMountsFor = "/sysroot/persist/rw";
            };
          };
        };
      };
    };
  };
  fileSystems = {
    "/" = {
      autoResize = true;
      device = "/dev/disk/by-id/virtio-mvm-root";
      fsType = "btrfs";
      neededForBoot = true;
    };
    "/mnt/store" = {
      device = "store";
      fsType = "virtiofs";
      neededForBoot = true;
      options = [ "defaults" "x-systemd.requires=systemd-modules-load.service" ];
    };
    "/nix/store" = {
      depends = [ "/mnt/store" "/persist/rw" ];
      device = "overlay";
      fsType = "overlay";
      neededForBoot = true;
      options = [ "lowerdir=/mnt/store" "upperdir=/persist/rw/store" "workdir=/persist/rw/work" "userxattr" ];
    };
    "/persist" = {
      device = "/dev/disk/by-id/virtio-disk-0";
      fsType = "ext4";
      neededForBoot = true;
    };
    "/persist/rw" = {
      device = "rw";
      fsType = "virtiofs";
      neededForBoot = true;
      options = [ "defaults" "x-systemd.requires=systemd-modules-load.service" ];
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
