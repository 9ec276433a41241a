// Package btrfs writes read-only Btrfs images of Nix store paths, in one pass
// and without mounting anything.
//
// [Build] is all there is. It takes names, host paths and an empty file. It
// must not know what a closure is or where images are kept.
//
// # Why not mkfs.btrfs
//
// "mkfs.btrfs --rootdir" cannot make the same image twice: it numbers files in
// the order in which the host lists its directories, takes owners from the
// host and times from the host and the clock, and draws random UUIDs for the
// device, the chunk tree and the subvolume, of which it lets the caller choose
// none (btrfs-progs 6.2). Their traces are under the checksums of every tree
// block. Every other way to fill a Btrfs leads through a mount, and the
// kernel's allocator promises no order either. An image that nobody will
// write to needs none of what makes a file system hard, so it is written here.
//
// # The image
//
// Features are those that mkfs.btrfs has set by default since 5.15: 16 KiB
// nodes, skinny metadata, no holes, a free space tree, CRC-32C over data and metadata. Data and
// metadata are stored once. Addresses in the file system are offsets in the
// file, and from its start there are: the superblock, the chunk tree, the data
// of files in the order of their names, and the other trees. Files of up to
// 2048 bytes are in the trees. Files have the owner 0:0 and the time 1; hard
// links become files of their own.
//
// Nothing is left free for a writer. The kernel's documentation of the format is at
// btrfs.readthedocs.io/en/latest/dev/On-disk-format.html.
package btrfs
