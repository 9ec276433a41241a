{
  boot = {
    initrd = {
      systemd = {
        mounts = [
          {
            after = [ "rw-store.service" ];
            before = [ "initrd-fs.target" ];
            options = "lowerdir=/sysroot/nix/.ro-store,upperdir=/sysroot/nix/.rw-store/store,workdir=/sysroot/nix/.rw-store/work";
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
              ExecStart = "/bin/mkdir -p -m 0755 /sysroot/nix/.rw-store/store /sysroot/nix/.rw-store/work /sysroot/nix/store";
              Type = "oneshot";
            };
            unitConfig = {
              DefaultDependencies = false;
              RequiresMountsFor = "/sysroot/nix/.rw-store";
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
    "/nix/.ro-store" = {
      device = "/dev/disk/by-id/virtio-nix-store";
      fsType = "squashfs";
      neededForBoot = true;
      noCheck = true;
      options = [ "x-systemd.requires=systemd-modules-load.service" "ro" ];
    };
    "/nix/.rw-store" = {
      autoResize = true;
      device = "/dev/disk/by-id/virtio-mvm-rw-store";
      fsType = "ext4";
      neededForBoot = true;
    };
    "/nix/store" = {
      depends = [ "/nix/.ro-store" "/nix/.rw-store" ];
      device = "overlay";
      fsType = "overlay";
      neededForBoot = true;
      options = [ "lowerdir=/nix/.ro-store" "upperdir=/nix/.rw-store/store" "workdir=/nix/.rw-store/work" ];
    };
    "/var/data" = {
      device = "/dev/disk/by-id/virtio-DATA-1";
      fsType = "xfs";
      options = [ "ro" ];
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
