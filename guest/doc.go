// Package guest is the first process of a guest, from the moment the kernel
// starts it until the guest's own init takes its place.
//
// [Guest.Boot] carries out the orders that the host left in the initrd
// (package handoff): it loads kernel modules, finds the disks, mounts the plan
// under a new root, checks what it mounted, leaves an agent behind (package
// agent), and executes init. It returns only when one of these did not work,
// and [Guest.GiveUp] then tells the host why and powers the guest off. Nothing
// here ends in a silent hang or in a kernel panic without a word.
//
// # A guest with an initrd of its own
//
// There process 1 is systemd, mounts come from units, and this program is a
// service ([Guest.Serve]). It loads the modules, calls the host and starts the
// same agent, which stays when the initrd goes: in process 1's control group,
// where no unit's end reaches it, and under a name that systemd spares when it
// leaves. [Emergency] tells the agent of an initrd that gave up.
//
// # What it decides
//
// Nothing. What is mounted, where, and in which order is package mounts'
// decision, made on the host; which modules are needed is package kmod's.
//
// # Trust
//
// Disks are not trusted: superblocks are read with bounds (package
// superblock), and paths are walked inside the new root, so that a symbolic
// link on a volume leads nowhere else. The initrd is trusted.
//
// # Size
//
// The package is linked into the static binary that every guest loads. It
// imports nothing but the standard library, without net and os/exec, and
// golang.org/x/sys.
package guest
