package security

import (
	"fmt"
	"strconv"
)

// capNames are the capabilities by number, from include/uapi/linux/capability.h
// of Linux 6.18.
var capNames = []string{
	"cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill", "cap_setgid",
	"cap_setuid", "cap_setpcap", "cap_linux_immutable", "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin",
	"cap_net_raw", "cap_ipc_lock", "cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace",
	"cap_sys_pacct", "cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource", "cap_sys_time",
	"cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write", "cap_audit_control", "cap_setfcap",
	"cap_mac_override", "cap_mac_admin", "cap_syslog", "cap_wake_alarm", "cap_block_suspend", "cap_audit_read",
	"cap_perfmon", "cap_bpf", "cap_checkpoint_restore",
}

// CapName is the name of a capability, as capabilities(7) has it in small
// letters.
func CapName(c uintptr) string {
	if c < uintptr(len(capNames)) {
		return capNames[c]
	}
	return fmt.Sprintf("cap_%d", c)
}

func parseCaps(hex string) (uint64, error) { return strconv.ParseUint(hex, 16, 64) }

// names lists the capabilities of a set, never nil.
func names(set uint64) []string {
	list := []string{}
	for c := range uintptr(64) {
		if set&(1<<c) != 0 {
			list = append(list, CapName(c))
		}
	}
	return list
}
