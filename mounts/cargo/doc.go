// Package cargo carries files between host and guest: [Send] writes a file or a
// directory into a stream, and [Receive] makes it again from that stream.
//
// Both sides of a copy are this package, whichever way it goes. The stream is
// its own: a tree as it is walked, in records of a kind and a few numbers, with
// the holes of sparse files left out. An archive of a known format would carry
// what nobody asked for (owners, devices, paths) and could carry no holes; its
// writer would be a tenth of the guest's first process.
//
// # Trust
//
// The sender may be a hostile guest. A stream names no paths: an entry has a
// name without a slash in the directory that was entered last, and the
// receiver holds that directory open ([os.Root]), follows no link in it, and
// makes nothing but files, directories and links. The name of the whole is the
// receiver's to choose, so who asks for /etc/hosts gets nothing else. A link is
// made as it is sent, wherever it leads; following it later is its reader's
// decision.
//
// # What a copy is
//
// Contents, permission bits less the receiver's umask, times of modification and
// links' targets. Owners are the receiver's, set-id and sticky bits are dropped,
// hard links become files of their own. A file appears under its name when all
// of it is on the disk, or not at all.
//
// The package prints nothing. It knows neither machines nor channels; it is
// here because both sides use it, as they do package handoff.
package cargo
