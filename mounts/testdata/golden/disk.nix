{
  fileSystems = {
    "/" = {
      device = "rootfs";
      fsType = "tmpfs";
      neededForBoot = true;
      options = [ "size=50%,mode=0755" ];
    };
    "/nix/store" = {
      device = "/dev/disk/by-id/virtio-nix-store";
      fsType = "erofs";
      neededForBoot = true;
      noCheck = true;
      options = [ "x-systemd.requires=systemd-modules-load.service" "ro" ];
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
