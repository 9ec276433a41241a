// Package storedisk turns a closure of Nix store paths into a read-only disk
// image and keeps the images in a cache.
//
// A [Closure] is a list of store paths; [Options] say which file system and how
// it is compressed; [Cache.Build] returns the [Image], made now or found. The
// root directory of an image is the store itself, so that a guest mounts it
// at /nix/store.
//
// # Same closure, same bytes
//
// Every file in an image belongs to 0:0 and has the modification time 1, names
// are in byte order, and label and UUID are fixed by the closure. Neither the
// directory that the store lives in nor the host, the user, the clock, or the
// cache's history shows in the bytes. docs/store-disks.md says for each format
// how that is reached.
//
// # What the cache trusts
//
// An image's file is named by a digest of the names of the closure's paths, the
// format and its options. A store path's name stands for its content once Nix
// has finished it, which Nix marks: no write bits and the modification time 1.
// A path without those marks may change under its name; its whole tree is then
// looked at on each [Cache.Build], and the image is made anew when it differs.
//
// # Ownership
//
// An [Image] holds a lease on its file until [Image.Close]: while anybody has
// a lease, or QEMU has the file open, nobody edits or removes it. A cache
// directory is shared by any number of processes; locks are the kernel's, so
// they end with the process that held them.
//
// The package knows nothing of machines. It never prints and never reads the
// environment.
package storedisk
