package vm

import (
	"strings"

	"github.com/mvmrun/mvm/qemu"
)

// How the guest learns its machine id. SMBIOS alone would not do: a microvm has
// none, nor has a virt machine without firmware, and systemd believes it under few
// hypervisors. So a machineId that is written also goes onto the kernel's command
// line, where systemd takes it whatever the guest has in /etc/machine-id. One that
// is merely derived is for a guest that has none: a credential.
//
// The credential must come by the same way as all others. One on the kernel's
// command line would reach the systemd of an initrd that has no driver for fw_cfg,
// and the guest's own would then look for no others.

// machineIDCredential is systemd's name for it (systemd.system-credentials(7)).
const machineIDCredential = "system.machine_id"

// machineIDDigits is the machine's UUID as machine-id(5) has it.
func (c *Config) machineIDDigits() string { return strings.ReplaceAll(c.UUID(), "-", "") }

// withMachineID adds the credential, unless the definition says who the guest is.
func (c *Config) withMachineID(list []qemu.Credential) []qemu.Credential {
	if _, own := c.CredentialFiles[machineIDCredential]; own || c.MachineID != "" {
		return list
	}
	return append(list, qemu.Credential{Name: machineIDCredential, Text: c.machineIDDigits(), Why: "machineId"})
}
