package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// An Identity names one process for good: process ids are reused, and start
// over at a boot, but not with the same start time on the same boot.
type Identity struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // clock ticks since boot, field 22 of proc_pid_stat(5)
	BootID    string `json:"bootId"`    // /proc/sys/kernel/random/boot_id
}

// Self returns this process's identity.
func Self() (Identity, error) { return identify(os.Getpid()) }

func identify(pid int) (Identity, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Identity{}, err
	}
	start, err := startTime(stat)
	if err != nil {
		return Identity{}, fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTime: start, BootID: strings.TrimSpace(string(boot))}, nil
}

// startTime reads field 22 of stat. The second field is the command's name in
// parentheses and may hold anything, parentheses and spaces too, so the count
// begins behind the last one.
func startTime(stat []byte) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("no command name in its stat")
	}
	fields := strings.Fields(string(stat[i+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("%d fields in its stat", len(fields)+2)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// OfThisBoot reports whether the process is of the host's current boot. One that is
// not went with the host. A host that does not tell its boots apart has one.
func (id Identity) OfThisBoot() bool {
	self, err := Self()
	return err != nil || id.BootID == self.BootID
}

// Alive reports whether the process still runs. A process that cannot be
// looked at counts as alive: only the kernel's word ends it.
func (id Identity) Alive() bool {
	now, err := identify(id.PID)
	if err != nil {
		return !os.IsNotExist(err)
	}
	return now == id
}

// WriteIdentity records id as the machine's supervisor.
func (m Machine) WriteIdentity(id Identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return WriteFile(m.IdentityFile(), append(b, '\n'))
}

// ReadIdentity returns the machine's supervisor as recorded. The error is
// fs.ErrNotExist when there is none.
func (m Machine) ReadIdentity() (Identity, error) {
	b, err := os.ReadFile(m.IdentityFile())
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", m.IdentityFile(), err)
	}
	return id, nil
}
