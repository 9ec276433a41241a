// Package volume makes and guards the disk images that a machine keeps: sparse
// files with an empty, labelled file system, raw or in one of QEMU's formats.
//
// [Open] makes an image without a name, and gives it its name only when it is
// complete and on the disk, so a crash, a full disk or a second maker never
// leaves a blank image where a formatted one is expected. What exists is never
// formatted, and never made smaller: it can only grow.
//
// An open [Volume] is locked, against other machines and against QEMUs that
// somebody else started: one writes it, or many read it. What was looked at is
// what QEMU then gets, by its descriptor, and it leads to no other file of the
// host.
//
// The package knows files, mkfs and qemu-img; it does not know which machine an
// image is for.
package volume
