// Package erofs writes Nix store disks in the EROFS format: [Build] makes an
// image from store paths, and [Update] turns that image into the one that a
// fresh Build of other paths would have made, writing only what differs.
//
// It holds the format and the two algorithms. It must not know what a closure
// is, where images are cached, or who boots them; it takes names, host paths
// and an open file, and gives back an [Index].
//
// # The image
//
// Files are stored as they are, without compression, and no feature is used
// that Linux 5.4 lacks. Every store path is one segment: its inodes with the
// tails of its files behind them, then whole blocks of data. A segment's size
// and layout depend on nothing but the path's own content, and everything in
// it is found through the root directory alone. So a segment can be written,
// removed or left alone without looking at any other.
//
// Under [Sparse] a segment's place in a mostly empty file of 1 TiB is computed
// from the hash of the path's name, so adding and removing paths does not move
// the rest. Under [Packed] segments follow each other, which suits a file that
// is copied elsewhere, and a file system that cannot punch holes.
//
// # Same paths, same bytes
//
// The image depends on the names and contents of its paths and on [Options],
// not on their order, where they lie on the host, how many readers there were,
// or which updates led to it. Therefore owners become 0:0, every time is
// second 1, and the permission bits are kept without set-id and sticky bits,
// which would mean something else once root owns the file; a Nix store has
// none. Extended attributes are left out, as a Nix archive leaves them out.
// Hard links become files of their own: whether a host has run
// "nix-store --optimise" may not show in the image. (In a sparse image, holes
// may fall differently; what is read from it may not.)
//
// # Which sources may be updated from
//
// Update takes a path to be unchanged if its root still has the device, inode
// number, change time, size and mode that the index recorded. That is sound
// for a store path, which never changes once it is valid: another content
// means another inode, or the same inode made again at a later time. It says
// nothing about a directory whose files are edited in place. A caller with
// such a source must Build.
//
// # What the caller owes an update
//
// Neither Build nor Update syncs or renames anything, and Update locks nobody
// out but QEMU. An index is a promise that the image beside it is whole, so the
// caller, holding a lock of its own,
//
//  1. removes the index from disk before it calls Update,
//  2. writes the returned index, to a temporary name and by rename, only
//     after Update returned without an error,
//  3. builds anew when the index is missing or [ErrIndex] is returned.
//
// An update that was cut short has then no index, and is replaced. As a
// second guard, Update wipes the superblock before its first change and
// writes it last, so a half-made image does not mount. An index also names
// the boot it was made in, and Update refuses that of another boot: files
// that were never synced may be torn after a crash, however they look.
package erofs
