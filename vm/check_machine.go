package vm

import (
	"math"
	"regexp"
	"runtime"
	"strings"
)

var (
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)
	uuidForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	plainID  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`) // what QEMU takes as an id
	optName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	memSize  = regexp.MustCompile(`^[1-9][0-9]{0,9}[MG]$`)

	// machineTypes are those that mvm knows how to fill, with or without a
	// QEMU version in the name.
	machineTypes = regexp.MustCompile(`^(microvm|q35|pc-q35-[0-9.]+|virt|virt-[0-9.]+)$`)
)

// maxMiB is an exbibyte. It keeps sizes in bytes inside 64 bits.
const maxMiB = 1 << 40

func (k *checker) checkIdentity() {
	c := k.c
	switch {
	case c.Name != "" || c.src.wrote("name"):
		k.fails("name", nameTrouble(c.Name))
	case c.src != nil && nameTrouble(c.src.baseName()) != "":
		k.wrong("name", "the file's name cannot be the machine's: %s", nameTrouble(c.src.baseName())).
			Hint = "set name"
	}
	if c.Hypervisor != "" && c.Hypervisor != "qemu" {
		k.wrong("hypervisor", "mvm drives QEMU only, not %s", quoteShort(c.Hypervisor)).Hint = "leave it out"
	}
	if c.MachineID != "" && !uuidForm.MatchString(c.MachineID) {
		k.wrong("machineId", "%s is no UUID", quoteShort(c.MachineID)).
			Hint = "write 32 hexadecimal digits in groups of 8-4-4-4-12, or leave it out"
	}
	if c.User != "" && !userName.MatchString(c.User) {
		k.wrong("user", "%s is no user's name", quoteShort(c.User))
	}
	if c.Socket != "" && !k.fails("socket", socketTrouble(c.Socket)) {
		k.fails("socket", socketFileTrouble(c.Socket))
	}
	for _, x := range []struct{ key, text string }{{"preStart", c.PreStart}, {"extraArgsScript", c.ExtraArgsScript}} {
		if k.text(x.key, x.text) && len(x.text) > maxScript {
			k.wrong(x.key, "the script has %d bytes; a program's argument has at most %d", len(x.text), maxScript).
				Hint = "put it into a file, and write the file's path here"
		}
	}
}

func (k *checker) checkResources() {
	c := k.c
	// 288 is the most that QEMU's x86 machines take.
	k.within("vcpu", c.VCPUs(), 1, 288, "")
	// Linux does not start in less than 32 MiB.
	k.within("mem", c.MemMiB(), 32, maxMiB, " MiB")
	machine := c.MachineType(runtime.GOARCH)
	if c.MemMiB() == 2048 && machine == "microvm" {
		k.wrong("mem", "QEMU hangs with exactly 2048 MiB on the machine microvm (microvm.nix issue 171)").
			Hint = `use 2047 or 2049, or set qemu.machine = "q35"`
	}
	if k.within("hotplugMem", c.HotplugMem, 0, maxMiB, " MiB") && c.HotplugMem > 0 && machine == "microvm" {
		k.wrong("hotplugMem", "the machine microvm has no hot-plugged memory (microvm.nix issue 514)").
			Hint = `set qemu.machine = "q35"`
	}
	if p := c.HotpluggedMem; p != nil && (*p < 0 || *p > c.HotplugMem) {
		k.wrong("hotpluggedMem", "%d is out of range; want 0 to hotplugMem, which is %d MiB", *p, c.HotplugMem)
	}
	for _, m := range []struct {
		key string
		mib int
	}{{"hotplugMem", c.HotplugMem}, {"hotpluggedMem", derefOr(c.HotpluggedMem, 0)}} {
		if m.mib%2 != 0 {
			k.wrong(m.key, "virtio-mem plugs blocks of 2 MiB, so the number must be even")
		}
	}
	if c.Balloon && c.HugepageMem {
		k.wrong("balloon", "a huge page that the guest has given back may not be there when it wants it again, and the guest would die").
			Hint = "leave balloon out: with hotplugMem memory can be taken back and given again, and is refused if it is not there"
	}
	if c.InitialBalloonMem != 0 {
		k.wrong("initialBalloonMem", "QEMU's balloon starts empty").
			Hint = "leave it out, and inflate the balloon when the guest runs"
	}
	k.oneOf("accel", c.Accel, "auto", "kvm", "tcg")
	if !k.text("cpu", c.CPU) {
		return
	}
	if c.CPU == "host" && c.Accelerator() == "tcg" {
		k.wrong("cpu", "TCG cannot give the host's CPU").Hint = `leave cpu out, or set accel = "kvm"`
	}
}

func (k *checker) checkQEMU() {
	q := &k.c.QEMU
	if (q.Machine != "" || k.c.src.wrote("qemu.machine")) && !machineTypes.MatchString(q.Machine) {
		m := k.wrong("qemu.machine", "mvm has no machine %s; want microvm, q35 or virt", quoteShort(q.Machine))
		if strings.Contains(q.Machine, ",") {
			m.Hint = "put the options after the comma into qemu.machineOpts"
		}
	}
	for _, name := range sortedKeys(q.MachineOpts) {
		key := keyIn("qemu.machineOpts", name)
		if !optName.MatchString(name) {
			k.wrong(key, "%s is no name of an option", quoteShort(name))
		}
		k.text(key, q.MachineOpts[name])
	}
	for i, arg := range q.ExtraArgs {
		key := keyAt("qemu.extraArgs", i)
		switch {
		case !k.text(key, arg):
		case i == 0 && !strings.HasPrefix(arg, "-"):
			k.wrong(key, "QEMU would take %s for a disk image; the first argument begins with -", quoteShort(arg))
		case strings.TrimLeft(arg, "-") == "daemonize":
			k.wrong(key, "QEMU would leave mvm, which then could not watch it").Hint = "remove it"
		}
	}
	ids := make(seen)
	for i, p := range q.PCIERootPorts {
		at := keyAt("qemu.pcieRootPorts", i)
		if !k.required(at+".id", p.ID) {
			continue
		}
		if !plainID.MatchString(p.ID) {
			k.wrong(at+".id", "%s is no id; use letters, digits, and after the first letter . _ -", quoteShort(p.ID))
		}
		ids.again(k, at+".id", p.ID, "the id")
		if p.Chassis != nil {
			k.within(at+".chassis", *p.Chassis, 0, math.MaxUint8, "")
		}
	}
	k.text("qemu.package", q.Package)
	k.text("virtiofsd.package", k.c.Virtiofsd.Package)
	k.text("passt.package", k.c.Passt.Package)
	if v := k.c.Virtiofsd.FileHandles(); v != "" {
		k.oneOf("virtiofsd.inodeFileHandles", v, "never", "prefer", "mandatory")
	}
	if g := k.c.Virtiofsd.SocketGroup(); g != "" && !userName.MatchString(g) {
		k.wrong("virtiofsd.group", "%s is no group's name", quoteShort(g))
	}
	k.text("virtiofsd.extraArgs", k.c.Virtiofsd.ExtraArgs...)
}

func (k *checker) checkGraphics() {
	g := &k.c.Graphics
	if g.Backend == "cocoa" {
		k.wrong("graphics.backend", "cocoa is macOS's display").Hint = "use gtk or headless"
	} else {
		k.oneOf("graphics.backend", g.Backend, "gtk", "headless")
	}
	if g.Vulkan != "" {
		k.oneOf("graphics.vulkan", g.Vulkan, "venus", "drm_native_context")
	}
	if !memSize.MatchString(g.HostWindow()) {
		k.wrong("graphics.hostmem", "%s is no size; write a number and M or G, as in 256M", quoteShort(g.HostMem))
	}
	// A CID from a file has been checked; one that was set in Go has not.
	if cid := k.c.VSock.CID; cid != 0 && cid != CIDAuto && (cid < 3 || cid >= math.MaxUint32) {
		k.wrong("vsock.cid", "%d is no guest's context id; use 3 to 4294967294", cid)
	}
}

func (k *checker) checkLifecycle() {
	c := k.c
	k.oneOf("restart", c.Restart, "never", "on-failure", "always", "on-reboot")
	n, window := c.RestartLimits()
	k.within("restartLimit", n, 0, math.MaxInt32, "")
	if window <= 0 {
		k.wrong("restartWindow", "a window of no length never fills").Hint = "set restartLimit = 0 for no limit"
	}
	if c.StopLimit() < 0 {
		k.wrong("stopTimeout", "a time limit cannot be negative")
	}
	if c.ReadyLimit() < 0 {
		k.wrong("readyTimeout", "a time limit cannot be negative")
	}
	k.checkCredentials()
}

// maxCredentialName is what remains of the 55 bytes of a name in fw_cfg after
// "opt/io.systemd.credentials/".
const maxCredentialName = 55 - len("opt/io.systemd.credentials/")

func (k *checker) checkCredentials() {
	c := k.c
	for _, name := range sortedKeys(c.CredentialFiles) {
		key := keyIn("credentialFiles", name)
		switch {
		case name == "." || name == ".." || strings.ContainsFunc(name, notInCredential):
			k.wrong(key, "%s is no credential's name: it becomes a file's name, without / : and blanks", quoteShort(name))
		case len(name) == 0 || len(name) > maxCredentialName:
			k.wrong(key, "a credential's name has 1 to %d bytes, which is what QEMU's fw_cfg leaves room for", maxCredentialName)
		case c.CredentialFiles[name] == "":
			k.wrong(key, "it names no file")
		default:
			k.text(key, c.CredentialFiles[name])
		}
	}
}

func notInCredential(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
