# What the Nix expressions of this repository build with instead of nixpkgs: a
# derivation of busybox, and a function that builds with nothing else.
{
  # A static busybox, not through a symlink: Debian's package busybox-static.
  busyboxProgram ? /usr/bin/busybox,
}:

let
  # run makes a derivation from a shell script. The script ends with a command
  # of the shell itself: nix 2.8 takes a closed standard output for the end,
  # kills the builder, and most programs close theirs before they exit.
  run = shell: name: env: script:
    derivation ({
      inherit name;
      system = builtins.currentSystem;
      builder = shell;
      args = [ "sh" "-euc" "${script}\n:" ];
    } // env);

  # The program alone, under its own name: busybox looks at argv[0].
  bootstrap = builtins.path {
    name = "busybox-static";
    path = dirOf busyboxProgram;
    filter = file: type: file == toString busyboxProgram;
  };

  busybox = run "${bootstrap}/busybox" "busybox" { } ''
    b=${bootstrap}/busybox
    $b mkdir -p $out/bin
    $b cp $b $out/bin/busybox
    for applet in $($b --list); do
      [ "$applet" = busybox ] || $b ln -s busybox "$out/bin/$applet"
    done
  '';

in
{
  inherit busybox;

  # build NAME ENV SCRIPT: a derivation whose script finds busybox in its PATH.
  build = name: env:
    run "${busybox}/bin/busybox" name ({ PATH = "${busybox}/bin"; } // env);
}
