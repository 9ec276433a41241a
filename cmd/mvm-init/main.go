// Command mvm-init is the first process in a guest. It mounts what the host
// planned, leaves an agent behind, and executes the guest's own init; see
// package guest.
//
// It is several programs in one file, told apart by argv[0]: process 1, the
// agent that process 1 starts, /run/mvm/poweroff, the other end of "mvm cp", and
// two services of a guest that boots through an initrd of its own.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/mvmrun/mvm/guest"
	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/guest/kmsg"
	"github.com/mvmrun/mvm/mounts/handoff"
)

func main() {
	switch name := filepath.Base(os.Args[0]); {
	case name == agent.ProcessName:
		if err := agent.Main(func() int64 { return guest.Uptime().Milliseconds() }); err != nil {
			kmsg.Print(kmsg.Critical, "agent: %v", err)
			os.Exit(1)
		}
	case name == filepath.Base(handoff.PoweroffPath):
		poweroff(os.Args[1:])
	case name == handoff.CopyProgram:
		if err := agent.Copy(os.Args[1:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case name == handoff.InitrdService:
		serve()
	case name == handoff.EmergencyService:
		if err := guest.Emergency(); err != nil {
			kmsg.Print(kmsg.Critical, "%v", err)
			os.Exit(1)
		}
	case os.Getpid() != 1:
		fmt.Fprintln(os.Stderr, "mvm-init: this is a guest's first process; it is of no use elsewhere")
		os.Exit(2)
	default:
		boot()
	}
}

// boot never returns: process 1 becomes init, or powers off.
func boot() {
	// What is chrooted and executed at the end is this thread.
	runtime.LockOSThread()
	// It allocates a few hundred kilobytes in its short life.
	debug.SetGCPercent(-1)
	var g guest.Guest
	defer func() {
		if r := recover(); r != nil {
			g.GiveUp(&guest.Failure{Op: "boot", Err: fmt.Errorf("panic: %v", r), Detail: string(debug.Stack())})
		}
	}()
	g.GiveUp(g.Boot())
}

// serve is mvm's service in a guest's own initrd. A guest whose host cannot see
// how it gets on is of no use, so failing ends it.
func serve() {
	var g guest.Guest
	if err := g.Serve(); err != nil {
		g.GiveUp(err)
	}
}

// poweroff does not return when the guest is going down: a script that called
// it is not to go on, and as process 1 not to end.
func poweroff(args []string) {
	status, err := agent.ParseStatus(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "poweroff: %v\n", err)
		os.Exit(2)
	}
	switch noted, err := agent.Poweroff(status); {
	case err != nil:
		fmt.Fprintf(os.Stderr, "poweroff: %v; powering off without it\n", err)
		agent.End(false)
	case !noted:
		fmt.Fprintf(os.Stderr, "poweroff: the host has not noted exit status %d; powering off all the same\n", status)
	}
	for {
		time.Sleep(time.Hour)
	}
}
