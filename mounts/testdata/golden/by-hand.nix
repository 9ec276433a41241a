{
  fileSystems = {
    "/" = {
      device = "/dev/disk/by-label/root";
      fsType = "ext4";
      neededForBoot = true;
      options = [ "rw" "noatime" ];
    };
    "/a" = {
      device = "/dev/vdb";
      fsType = "vfat";
      neededForBoot = true;
      options = [ "x-systemd.after=a.service,nodev" "x-systemd.before=b.service" ];
    };
    "/b c" = {
      device = "b";
      fsType = "tmpfs";
      neededForBoot = true;
      options = [ "x-systemd.requires-mounts-for=/a" ];
    };
    "/o" = {
      depends = [ "/a" "/b c" ];
      device = "overlay";
      fsType = "overlay";
      neededForBoot = true;
      options = [ "lowerdir=/a:/b c" ];
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
