// Package volume makes the disk images that a machine keeps: sparse files with
// an empty, labelled file system.
//
// [Ensure] makes an image without a name, and gives it its name only when it is
// complete and on the disk, so a crash, a full disk or a second maker never
// leaves a blank image where a formatted one is expected. What exists is never
// formatted, and never made smaller: it can only grow.
//
// The package knows files and mkfs; it does not know which machine an image is
// for. The caller keeps two makers of one machine apart; two machines that share
// a path by mistake are kept apart by the kernel, which links no two files to
// one name.
package volume
