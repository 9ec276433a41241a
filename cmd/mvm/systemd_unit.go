package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mvmrun/mvm/vm"
)

// unitMark is the first line of every unit that mvm writes. A file without it
// is somebody else's.
const unitMark = "# Written by \"mvm systemd\", which also removes it. See docs/systemd.md."

// serviceBase is the service of one machine. What waits is the same for every
// manager; what a machine may do differs.
const serviceBase = `%s
[Unit]
Description=MicroVM %%i
Documentation=https://github.com/mvmrun/mvm/blob/main/docs/systemd.md
After=network.target
PartOf=mvms.target
# mvm restarts the guest by itself; this bounds restarts of mvm.
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s run %%i
# SIGTERM is for mvm, which ends the guest gently; whatever is left at the end
# is killed.
KillMode=mixed
# mvm says how long each step may take, and the limits grow with it.
TimeoutStartSec=30
TimeoutStopSec=30
# mvm reports a sign of life only when QEMU has answered.
WatchdogSec=60
TimeoutAbortSec=10
# When the kernel kills QEMU for memory, mvm decides what follows.
OOMPolicy=continue
StandardInput=null
StandardOutput=journal
StandardError=journal
SyslogIdentifier=mvm-%%i
UMask=0077
LimitNOFILE=524288
`

// serviceSystem is what a machine of the system's may do. docs/systemd.md says
// what is left out and why.
const serviceSystem = `LimitMEMLOCK=infinity
Slice=machine.slice
StateDirectory=mvm/%i
StateDirectoryMode=0700
CacheDirectory=mvm
# Machines share it and keep it in order themselves.
RuntimeDirectory=mvm
RuntimeDirectoryPreserve=yes

CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_ADMIN CAP_SYS_CHROOT CAP_SYS_RESOURCE
DevicePolicy=closed
DeviceAllow=/dev/kvm rw
DeviceAllow=/dev/net/tun rw
DeviceAllow=/dev/vhost-net rw
DeviceAllow=/dev/vhost-vsock rw
DeviceAllow=/dev/vfio/vfio rw
DeviceAllow=char-vfio rw
DeviceAllow=char-macvtap rw
KeyringMode=private
LockPersonality=yes
NoNewPrivileges=yes
PrivateMounts=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=full
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_VSOCK
RestrictNamespaces=ipc mnt net pid user uts
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount seccomp landlock_add_rule landlock_create_ruleset landlock_restrict_self
SystemCallErrorNumber=EPERM
`

const serviceEnd = `
[Install]
WantedBy=mvms.target
`

const target = `%s
[Unit]
Description=MicroVMs that start with the host
Documentation=https://github.com/mvmrun/mvm/blob/main/docs/systemd.md

[Install]
WantedBy=%s
`

// serviceUnit is mvm@.service for the mvm at program.
func serviceUnit(program string, user bool) string {
	text := fmt.Sprintf(serviceBase, unitMark, unitWord(program))
	if !user {
		text += serviceSystem
	}
	return text + serviceEnd
}

// targetUnit is mvms.target, and bootTarget what wants it.
func targetUnit(user bool) string { return fmt.Sprintf(target, unitMark, bootTarget(user)) }

func bootTarget(user bool) string {
	if user {
		return "default.target"
	}
	return "multi-user.target"
}

// machineUnit is what one definition adds to mvm@.service. File is the
// definition's, or "" if mvm finds it by the machine's name.
func machineUnit(c *vm.Config, program, file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n[Service]\n", unitMark)
	if file != "" {
		fmt.Fprintf(&b, "ExecStart=\nExecStart=%s run %s\n", unitWord(program), unitWord(file))
	}
	// How the guest ends is mvm's to judge. This is for mvm's own end: by a
	// signal, by the watchdog, by a limit.
	switch c.RestartPolicy() {
	case "on-failure", "always":
		b.WriteString("Restart=on-abnormal\nRestartSec=1\n")
	default:
		b.WriteString("Restart=no\n")
	}
	if hasBus(c, "pci") {
		// The driver of a device is changed in /sys.
		b.WriteString("ProtectKernelTunables=no\n")
	}
	for _, dev := range machineDevices(c) {
		fmt.Fprintf(&b, "DeviceAllow=%s rw\n", unitWord(dev))
	}
	return b.String()
}

// machineDevices are the host's device files that the machine is given.
func machineDevices(c *vm.Config) []string {
	var devs []string
	for i := range c.Volumes {
		if image := filepath.Clean(c.Volumes[i].Image); strings.HasPrefix(image, "/dev/") {
			devs = append(devs, image)
		}
	}
	if hasBus(c, "usb") {
		devs = append(devs, "char-usb_device")
	}
	slices.Sort(devs)
	return slices.Compact(devs)
}

// hasBus reports whether the machine is given a device of a bus of the host's.
func hasBus(c *vm.Config, bus string) bool {
	return slices.ContainsFunc(c.Devices, func(d vm.Device) bool { return d.Bus == bus })
}

// unitWord is a word of a command line in a unit file: see systemd.service(5)
// on quoting, and systemd.unit(5) on specifiers.
func unitWord(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;") {
		s = `"` + s + `"`
	}
	return s
}
