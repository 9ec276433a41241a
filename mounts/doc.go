// Package mounts holds the mount plan of a guest: what must be mounted where,
// of which type, with which options, and in which order, before the guest's
// init may run.
//
// [For] turns a definition into a [Plan] by the rules of microvm.nix, [Plan.Check]
// says everything that would go wrong in a guest where nobody can look, and
// [Plan.Compare] holds the plan against the mounts that a guest reports.
// [Encode] and [Decode] carry a plan from the host to the guest; [Plan.Fstab],
// [Plan.Units], [Plan.Nix] and [Plan.NixJSON] write it down for other readers.
//
// # What the reference says, and what mvm adds
//
// Options that the reference names are in [Mount.Options]. Those that only a
// careful guest needs ("ro" on a disk that is read-only anyway) are in
// [Mount.Added], and every reader but one uses both: [Plan.NixJSON] prints what
// the reference prints and nothing else, so that the two can be compared.
//
// # What it must not know
//
// The package uses the standard library only and touches nothing: no file, no
// device, no process. A plan is read by the host, by the guest's first process
// and by tools, and means the same to each. Carrying it out belongs to package
// guest; deciding what disks a machine has belongs to package vm.
package mounts
