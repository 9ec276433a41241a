// Package kmod finds out which files of a kernel's module tree a guest must
// load, and in which order.
//
// [Open] reads the indices that depmod left beside the modules. [Tree.Resolve]
// turns names into modules with everything that they need, each once, each
// after what it depends on. [ForPlan] and [ForMachine] say which names a mount
// plan and a machine ask for.
//
// # No modprobe in the guest
//
// A running kernel asks user space for more modules (request_module), and an
// initrd of mvm has nobody to answer. So what a module asks for when it is
// used must be loaded before it: soft dependencies are resolved like hard
// ones, and the few requests that no index tells of are in a table here, with
// the place in the kernel that makes them.
//
// # Builtin
//
// A name that the kernel has built in resolves to nothing. A name that it has
// neither way is an error that says so, unless it was only wished for.
package kmod
