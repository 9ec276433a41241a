// Package volume makes the disk images that a machine keeps: sparse files with
// an empty, labelled file system.
//
// An image is made beside its target and takes its name only when it is
// complete and on the disk, so a crash, a full disk or a second maker never
// leaves a blank image where a formatted one is expected. What exists is never
// touched, let alone formatted.
//
// The package knows files and mkfs; it does not know which machine an image is
// for. The caller keeps two makers of one machine apart; two machines that share
// a path by mistake are kept apart by the kernel's rename.
package volume
