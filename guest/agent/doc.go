// Package agent is what mvm leaves running in a guest: it tells the host when
// init runs, runs commands for the host, and ends the guest when either side
// asks for it.
//
// [Main] is the agent's process, started by process 1 just before that becomes
// init, or by a service of the guest's own initrd; [Agent.Serve] is its conversation with the host, over any byte stream, in
// the frames of package handoff. [Poweroff] is the program that a guest's user
// runs to end the guest with an exit status.
//
// # Living beside init
//
// The agent keeps no file open but the port and its own socket, its working
// directory is the root, and its program is a deleted file of the initramfs:
// nothing keeps the guest from unmounting. Its name begins with "@", which
// spares it from systemd's last killing spree
// (https://systemd.io/ROOT_STORAGE_DAEMONS/), so that the host can still hear
// from a guest that is going down.
//
// # When init runs
//
// Process 1 holds one end of a pipe that closes when it executes init. In an
// initrd of the guest's own process 1 is systemd, which holds nothing for us:
// there the kernel's process events tell of the execution. Mounts alone do not.
// Their last change comes before process 1 changes its root.
//
// # The Nix database
//
// Where the host left the closure's registration and the closure has a
// nix-store, the registration is loaded before the host hears that the guest
// is ready. A read-only store is left alone, since Nix cannot work with one,
// and so is NixOS, which loads the registration itself.
//
// # Memory
//
// A command has at most handoff.Window bytes of input waiting here, and output
// is read from a command only when the host has room for it. There are at most
// handoff.MaxStreams commands. A host that breaks the rules of the channel
// loses its commands, and is not listened to until it opens the channel anew.
package agent
