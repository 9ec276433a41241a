// Package kernel unpacks compressed x86 kernels once, so that guests whose
// instructions are translated need not do it at every boot: under TCG the
// kernel's own decompressor takes a sixth of a boot, and with xz two thirds
// (measured with Debian's 6.1).
//
// A bzImage is a small loader with a compressed ELF file in it, and QEMU boots
// that ELF file directly if it has the PVH entry point (CONFIG_PVH, Linux 4.21).
// What is lost with the loader is the kernel's placing itself at a random
// address, so this is for TCG, which is no security boundary, and not for KVM.
//
// [Arch] tells for which architecture an image of any kind is.
//
// The package knows kernel images and a directory to keep them in; when to use
// it is its caller's business.
package kernel
