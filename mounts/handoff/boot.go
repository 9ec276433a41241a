package handoff

import (
	"time"

	"github.com/mvmrun/mvm/mounts"
)

// BootPath is where mvm-init finds its orders in the initrd.
const BootPath = "/mvm/boot.json"

// ModulesDir is where the initrd keeps kernel modules. [Boot.Modules] names
// files in it.
const ModulesDir = "/mvm/modules"

// Version is the version of [Boot] and of the frames. Either side refuses any
// other.
const Version = 1

// Programs that mvm-init is in an initrd of the guest's own, by argv[0].
const (
	// InitrdProgram is where that initrd has mvm-init.
	InitrdProgram = "/mvm/init"

	// InitrdService loads modules and starts the agent.
	InitrdService = "mvm-initrd"

	// EmergencyService tells the agent that the initrd gave up.
	EmergencyService = "mvm-emergency"
)

// PortName is the name of the agent's virtio-serial port, as the guest reads
// it in /sys/class/virtio-ports/*/name.
const PortName = "run.mvm.agent"

// A Boot is the host's orders to mvm-init.
type Boot struct {
	Version int `json:"version"`

	// Hostname is given to the kernel before init runs. Empty leaves it alone.
	Hostname string `json:"hostname,omitempty"`

	// Modules are file names in [ModulesDir], in the order to load them. A
	// module that the kernel has already is not an error.
	Modules []string `json:"modules,omitempty"`

	// Plan is what to mount under the new root.
	Plan mounts.Plan `json:"plan"`

	// Init is the program that becomes process 1, with its arguments; its
	// path is one in the new root. It is never empty.
	Init []string `json:"init"`

	// DeviceTimeout is how long to wait for a disk or the agent's port to
	// appear, in milliseconds. Zero means [DefaultDeviceTimeout].
	DeviceTimeout int `json:"deviceTimeoutMs,omitempty"`

	// Registration is a path in the initrd of the closure's registration, in
	// the form of nix-store --dump-db, or "". mvm-init copies it to
	// [RegistrationPath] in the new root.
	Registration string `json:"registration,omitempty"`
}

// Paths in the running guest. All lie on the tmpfs that is mounted on /run first.
const (
	// RunDir holds the agent's files.
	RunDir = "/run/mvm"

	// PoweroffPath is a program: "/run/mvm/poweroff 3" tells the host that
	// the guest's exit status is 3, waits until the host has it, and powers
	// the guest off. Without an argument the status is 0.
	PoweroffPath = RunDir + "/poweroff"

	// UnitDir is where systemd looks for units before it looks anywhere else
	// (systemd.unit(5)). It is not the directory by which programs tell that
	// systemd is init (sd_booted(3)).
	UnitDir = "/run/systemd/system.control"

	// AgentPIDPath is a file with the agent's process id, in a guest that boots
	// through an initrd of its own.
	AgentPIDPath = RunDir + "/agent.pid"

	// RegistrationPath is the closure's registration, for nix-store --load-db.
	RegistrationPath = RunDir + "/registration"
)

// DefaultDeviceTimeout is what a [Boot.DeviceTimeout] of zero means: a disk
// appears within milliseconds, but a host under TCG and load takes its time.
const DefaultDeviceTimeout = 10 * time.Second

// MaxBoot is how many bytes an encoded [Boot] may have: a plan of any allowed
// size and as much again.
const MaxBoot = 2 * mounts.MaxPlan
