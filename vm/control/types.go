package control

import "time"

// A State is where in its life a machine is. It only ever moves forward, but
// for a restart, which takes it back to Starting, and a guest that starts over in
// its QEMU, which takes it back to Booting.
type State string

// The states, in order.
const (
	Building State = "building" // the store disk is made or found
	Starting State = "starting" // volumes, initrd, QEMU
	Booting  State = "booting"  // the guest's CPUs run
	Ready    State = "ready"    // the plan is mounted and init runs
	Stopping State = "stopping" // somebody asked for the end
	Exited   State = "exited"   // nothing is left
)

// A Reason is why a machine ended.
type Reason string

// The reasons.
const (
	GuestPoweroff Reason = "guest poweroff"     // the guest ended by itself
	GuestReboot   Reason = "guest reboot"       // the guest asked for a reboot
	GuestFailed   Reason = "guest failed"       // mvm-init could not boot it
	GuestPanic    Reason = "guest panic"        // the guest's kernel gave up
	Stopped       Reason = "stopped"            // asked to, and it did by itself
	Killed        Reason = "killed"             // asked to, and it had to be forced
	HelperDied    Reason = "helper died"        // a virtiofsd or passt ended before QEMU did
	QEMUError     Reason = "qemu error"         // QEMU would not start, or died
	HostMemory    Reason = "host out of memory" // the kernel killed QEMU for its memory
	ReadyTimeout  Reason = "ready timeout"      // it was not ready in time
	NotStarted    Reason = "not started"        // it came to nothing before QEMU ran
)

// An Exit is how a machine ended.
type Exit struct {
	Reason Reason `json:"reason"`

	// Status is the guest's exit status when it reported one, else nil.
	Status *int `json:"status,omitempty"`

	// Detail is what went wrong in one line, as "guest: mount erofs on
	// /nix/store: structure needs cleaning". Empty for an end that was wanted.
	Detail string `json:"detail,omitempty"`

	// Hint is what to do about it, in one sentence.
	Hint string `json:"hint,omitempty"`

	// Rung is the last rung of the stop ladder that was tried.
	Rung string `json:"rung,omitempty"`

	// Definition is the path of the machine's definition.
	Definition string `json:"definition,omitempty"`
	// Ended is when it did.
	Ended time.Time `json:"ended,omitzero"`
	// Evidence is what the guest, QEMU and the kernel said last.
	Evidence Evidence `json:"evidence,omitzero"`
}

// Evidence is text to look at when an end was not wanted.
type Evidence struct {
	Console string `json:"console,omitempty"` // the end of the guest's console
	QEMU    string `json:"qemu,omitempty"`    // the end of QEMU's standard error
	Guest   string `json:"guest,omitempty"`   // what mvm-init added to its error
	Events  string `json:"events,omitempty"`  // QEMU's last events, one a line
	Helpers string `json:"helpers,omitempty"` // the end of what virtiofsd and passt wrote
	Memory  string `json:"memory,omitempty"`  // what the kernel killed for want of memory
}

// A Status is a machine as it is now.
type Status struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`
	PID     int       `json:"pid"`               // of the supervisor
	QEMU    int       `json:"qemuPid,omitempty"` // 0 while there is none
	Started time.Time `json:"started"`
	// Since is when the machine came into its state.
	Since time.Time `json:"since,omitzero"`
	// ReadyAfter is the time from start to ready, 0 if it is not ready yet.
	ReadyAfter time.Duration `json:"readyAfterNs,omitempty"`
	// GuestTimings are milliseconds from the start of the guest's kernel to
	// its first process ("init"), its modules being loaded ("modules"), the
	// plan being mounted ("mounts") and its own init running ("ready").
	GuestTimings map[string]int64 `json:"guestTimingsMs,omitempty"`
	Accel        string           `json:"accel,omitempty"` // "kvm" or "tcg"
	VCPU         int              `json:"vcpu"`
	MemMiB       int              `json:"mem"`
	// BalloonMiB is what the balloon leaves the guest of that, and PluggedMiB
	// what virtio-mem adds to it. Nil without the one or the other.
	BalloonMiB *int   `json:"balloon,omitempty"`
	PluggedMiB *int   `json:"plugged,omitempty"`
	Restarts   int    `json:"restarts,omitempty"`
	VSockCID   uint32 `json:"vsockCid,omitempty"` // 0 without vsock
	Definition string `json:"definition"`         // path of the file
	StoreDisk  string `json:"storeDisk,omitempty"`
	Kernel     string `json:"kernel,omitempty"` // as the guest names it
	// Mounts are those of the plan, in its order, each with what the guest
	// reported when it was ready. Nil before that.
	Mounts []Mount `json:"mounts,omitempty"`
	Exit   *Exit   `json:"exit,omitempty"`

	// Guest is what systemd in the guest said since the guest's start. Nil
	// if nothing.
	Guest *Guest `json:"guest,omitempty"`
}

// A Guest is what systemd in the guest says of itself over vsock.
type Guest struct {
	Ready  bool     `json:"ready"`            // it has started what it starts with
	Status string   `json:"status,omitempty"` // what it does
	Units  []string `json:"units,omitempty"`  // those that became active, mostly targets
}

// A Mount is one mount of the plan, and what the guest has in its place.
type Mount struct {
	Where   string `json:"where"`
	Type    string `json:"type,omitempty"`   // as the guest reported it
	Source  string `json:"source,omitempty"` // likewise: a disk by its device
	Planned string `json:"planned"`          // in the words of mount(8)
	Mounted string `json:"mounted"`          // likewise; "" for nothing

	// Wrong is how they differ, after Where: "is not mounted". Empty if they
	// do not.
	Wrong string `json:"wrong,omitempty"`
}

// An Event is one thing that happened to a machine.
type Event struct {
	Time    time.Time `json:"time"`
	State   State     `json:"state"`   // the state after it
	Message string    `json:"message"` // lower case, no full stop
	Exit    *Exit     `json:"exit,omitempty"`
}

// An Order is one thing to ask of QEMU.
type Order struct {
	// Do is one of [Orders].
	Do string `json:"do"`
	// MiB is the guest's memory that "balloon" and "memory" ask for, all of it.
	MiB int `json:"mib,omitempty"`
}

// Orders are what [Order.Do] can be: stop the guest's CPUs, let them run again,
// press the reset button, ask the guest to give memory back or take it, and plug
// more memory in or pull it out.
var Orders = []string{"pause", "resume", "reset", "balloon", "memory"}
