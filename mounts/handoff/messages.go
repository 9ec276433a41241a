package handoff

// Hello opens the channel.
type Hello struct {
	Version int    `json:"version"`
	Kernel  string `json:"kernel"` // uname -r
}

// Failed says why the guest does not boot.
type Failed struct {
	// Op is what mvm-init was doing, as "mount erofs on /nix/store".
	Op string `json:"op"`
	// Err is why it failed, as "no such device".
	Err string `json:"err"`
	// Detail is what may help to see why, some lines of text: the disks that
	// were there when one was missing, the kernel's last messages.
	Detail string `json:"detail,omitempty"`
}

// Ready says that the plan is mounted and that init was executed.
type Ready struct {
	// MountInfo is /proc/self/mountinfo as init sees it.
	MountInfo string `json:"mountinfo"`
	// Timings are milliseconds since the kernel started, by the clock
	// CLOCK_BOOTTIME: "init", "modules", "mounts", "ready".
	Timings map[string]int64 `json:"timings,omitempty"`
	// Notes are lines for the host's user about what was done on the way, or
	// could not be done and is no reason not to boot.
	Notes []string `json:"notes,omitempty"`
}

// Exit is the guest's exit status.
type Exit struct {
	Status int `json:"status"` // 0 to 255
}

// Poweroff asks the guest to end by itself.
type Poweroff struct {
	// Reboot asks for a reboot instead.
	Reboot bool `json:"reboot,omitempty"`
}

// Exec starts a command in the guest.
type Exec struct {
	// Argv is the command; a name without a slash is looked up in the PATH of
	// Env or else of the agent. [CopyProgram] is the agent's own.
	Argv []string `json:"argv"`
	// User is who runs the command: a name or a number of the guest's
	// /etc/passwd. Empty means root.
	User string `json:"user,omitempty"`
	// Login asks for the user's shell as after a login, at home; Argv is then
	// given to it as arguments.
	Login bool `json:"login,omitempty"`
	// Env is added to the agent's environment, as NAME=VALUE.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory. Empty means /, or home for a login.
	Dir string `json:"dir,omitempty"`
	// TTY asks for a pseudo terminal of this size; standard error then comes
	// with standard output.
	TTY *Size `json:"tty,omitempty"`
}

// CopyProgram is a command that the agent carries out by itself, in a process of
// its own: "send PATH" writes what is at PATH on standard output, "receive
// TARGET NAME" makes at TARGET, as package cargo does, what comes on standard
// input.
const CopyProgram = "mvm-copy"

// Size is a terminal's size in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Signal is a signal for a command's process group.
type Signal struct {
	Signal int `json:"signal"` // a Linux signal number
}

// Exited is how a command ended.
type Exited struct {
	// Code is the exit code, or 128 plus the signal.
	Code int `json:"code"`
	// Err is set when the command could not be started; Code is then 127 if
	// it was not found and 126 otherwise, as in a shell.
	Err string `json:"err,omitempty"`
}
