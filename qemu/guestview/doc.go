// Package guestview reads a QEMU command line for what the guest gets by it:
// [Of] returns the processors, the memory and the devices, without regard to
// how the command line is written.
//
// It exists so that two command lines can be compared in meaning: mvm's, and
// the one that another launcher would use for the same definition. Where a
// device sits (virtio-mmio or PCI), how the host reaches what is behind it
// (aio, sockets, descriptors) and what no guest can see (sandbox, monitor) is
// left out. It knows the options that launchers of small machines use; an
// option that it does not know is an error, not a device less.
package guestview
