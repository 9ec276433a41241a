// Package agent is what mvm leaves running in a guest: it tells the host when
// init runs, runs commands for the host, and ends the guest when either side
// asks for it.
//
// [Main] is the agent's process, started by process 1 just before that becomes
// init; [Serve] is its conversation with the host, over any byte stream, in
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
// # Memory
//
// A command has at most handoff.Window bytes of input waiting here, and output
// is read from a command only when the host has room for it. There are at most
// handoff.MaxStreams commands. A host that breaks the rules of the channel
// loses its commands, and is not listened to until it opens the channel anew.
package agent
