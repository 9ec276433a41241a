// Package initrd writes the initial RAM disk of a guest: a newc cpio archive
// with mvm-init as /init, its orders, and the kernel modules it is to load.
//
// [Build] writes a whole one. The kernel unpacks archives that follow one
// another, and [Append] adds a second, small one to the initrd that a guest's
// own system came with. [Archive] writes any list of files in the same form.
//
// All are pure functions of what they are given, apart from reading the files
// that are named: same input, same bytes. Nothing in the archive depends on
// the clock, on the order of a map, or on who runs it, and no file system
// object is made, so that device nodes need no privileges.
//
// # The embedded mvm-init
//
// mvm-init is built by "go generate" into bin/, for each architecture that a
// guest can have, and embedded, so that mvm is one file. A program built without
// that step works, but for [Init], Build and Append, which say what to run.
package initrd

//go:generate env CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags "-s -w" -o bin/mvm-init-amd64 ../../cmd/mvm-init
//go:generate env CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags "-s -w" -o bin/mvm-init-arm64 ../../cmd/mvm-init
