package hostnet

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mvmrun/mvm/vm/state"
)

// maxMachine is how long a machine's name may be so that the alias fits into
// the 255 bytes that the kernel keeps.
const maxMachine = 128

// An owner is the process that a device was made by, as the device's alias has
// it.
type owner struct {
	machine  string
	process  state.Identity
	pidSpace string // the process id's namespace, as "pid:[4026531836]"
}

// self returns this process as the owner of a machine's devices.
func self(machine string) (owner, error) {
	id, err := state.Self()
	if err != nil {
		return owner{}, err
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	return owner{machine, id, space}, err
}

// alias returns the owner as "mvm:machine:pid:start:boot:space".
func (o owner) alias() string {
	space := strings.Trim(strings.TrimPrefix(o.pidSpace, "pid:"), "[]")
	return fmt.Sprintf("mvm:%s:%d:%d:%s:%s", o.machine, o.process.PID, o.process.StartTime, o.process.BootID, space)
}

// parseAlias returns the owner that an alias names, or false if it is not mvm's.
func parseAlias(alias string) (owner, bool) {
	f := strings.Split(alias, ":")
	if len(f) != 6 || f[0] != "mvm" {
		return owner{}, false
	}
	pid, err := strconv.Atoi(f[2])
	if err != nil || pid < 1 {
		return owner{}, false
	}
	start, err := strconv.ParseUint(f[3], 10, 64)
	if err != nil {
		return owner{}, false
	}
	return owner{f[1], state.Identity{PID: pid, StartTime: start, BootID: f[4]}, "pid:[" + f[5] + "]"}, true
}

// dead reports whether the owner is known to be gone. An owner whose id means
// nothing here, because it is a container's, is not.
func (o owner) dead() bool {
	here, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && here == o.pidSpace && !o.process.Alive()
}

// String returns "machine web (process 1234)".
func (o owner) String() string {
	return fmt.Sprintf("machine %s (process %d)", o.machine, o.process.PID)
}
