// Package hostdev gives devices of this host to a machine, and takes them back.
//
// A PCI device is taken from its driver and given to vfio-pci, by which QEMU hands
// it on; [Borrow] does that for all devices of a machine or for none, and
// [Loan.Return] gives each back to the driver that it was taken from. What was
// borrowed is noted in a file first, so that the next run of a machine that was
// killed gives it back: [Reclaim]. A device that is vfio-pci's already was given to
// it by the host's owner, and stays there.
//
// A USB device is QEMU's to take, and the kernel's to take back; [FindUSB] only
// looks whether it is there.
//
// The package knows the kernel's sysfs and nothing of QEMU. See the kernel's
// Documentation/driver-api/vfio.rst and Documentation/ABI/testing/sysfs-bus-pci.
package hostdev
