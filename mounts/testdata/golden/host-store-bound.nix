{
  fileSystems = {
    "/" = {
      device = "rootfs";
      fsType = "tmpfs";
      neededForBoot = true;
      options = [ "size=50%,mode=0755" ];
    };
    "/home" = {
      device = "home";
      fsType = "virtiofs";
      options = [ "defaults" "x-systemd.requires=systemd-modules-load.service" ];
    };
    "/nix/.ro-store" = {
      device = "ro-store";
      fsType = "9p";
      neededForBoot = true;
      options = [ "trans=virtio" "version=9p2000.L" "msize=65536" "x-systemd.requires=systemd-modules-load.service" "ro" ];
    };
    "/nix/store" = {
      device = "/nix/.ro-store";
      fsType = "none";
      neededForBoot = true;
      options = [ "bind" "ro" ];
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
