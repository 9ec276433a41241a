package hostdev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeHost makes a sysfs and a /dev of files and links: "path" is a directory,
// "path=text" a file, "path>target" a link. What a kernel does with them is tested
// in a guest, by test's TestHostInAGuest.
func fakeHost(t *testing.T, entries ...string) {
	t.Helper()
	oldSys, oldDev := sys, dev
	t.Cleanup(func() { sys, dev = oldSys, oldDev })
	root := t.TempDir()
	sys, dev = filepath.Join(root, "sys"), filepath.Join(root, "dev")
	for _, e := range entries {
		i := strings.IndexAny(e+"=", "=>")
		path := filepath.Join(root, e[:i])
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case i == len(e):
			err = os.MkdirAll(path, 0o755)
		case e[i] == '=':
			err = os.WriteFile(path, []byte(e[i+1:]), 0o644)
		default:
			err = os.Symlink(e[i+1:], path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const pciDir, groupDir = "sys/bus/pci/devices/", "sys/kernel/iommu_groups/"

func TestFindPCI(t *testing.T) {
	fakeHost(t,
		pciDir+"0000:01:00.0/iommu_group>../../../../kernel/iommu_groups/7",
		pciDir+"0000:01:00.0/driver>../../drivers/e1000e",
		pciDir+"0000:01:00.0/driver_override=(null)\n",
		pciDir+"0000:02:00.0/driver>../../drivers/e1000e",
		pciDir+"0001:02:00.0/iommu_group>../../../../kernel/iommu_groups/8",
		pciDir+"0001:02:00.0/driver_override=other\n",
	)
	for _, tt := range []struct {
		address string
		want    *device
		err     string
	}{
		{"01:00.0", &device{Address: "0000:01:00.0", Driver: "e1000e", group: "7"}, ""},
		{"0001:02:00.0", &device{Address: "0001:02:00.0", Override: "other", group: "8"}, ""},
		{"0A:00.0", nil, "find PCI device 0000:0a:00.0: this host has none at that address"},
		{"02:00.0", nil, "find PCI device 0000:02:00.0: it is in no IOMMU group, so nothing would keep the guest from the host's memory"},
	} {
		got, err := find(tt.address)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(device{})); diff != "" {
			t.Errorf("find(%s) (-want +got):\n%s", tt.address, diff)
		}
		checkError(t, "find("+tt.address+")", err, tt.err)
	}
}

func TestCheckGroup(t *testing.T) {
	var entries []string
	for address, driver := range map[string]string{"01:00.0": "nvidia", "01:00.1": "snd", "01:00.2": "vfio-pci", "00:01.0": "bridge", "01:00.3": ""} {
		class := "0x030000\n"
		if driver == "bridge" {
			class = "0x060400\n"
		}
		entries = append(entries, pciDir+"0000:"+address+"/class="+class, groupDir+"7/devices/0000:"+address)
		if driver != "" {
			entries = append(entries, pciDir+"0000:"+address+"/driver>../../drivers/"+driver)
		}
	}
	fakeHost(t, entries...)
	gpu, sound := &device{Address: "0000:01:00.0", Driver: "nvidia", group: "7"}, &device{Address: "0000:01:00.1", group: "7"}
	checkError(t, "checkGroup of both", gpu.checkGroup([]*device{gpu, sound}), "")
	checkError(t, "checkGroup of one", gpu.checkGroup([]*device{gpu}),
		"hand on PCI device 0000:01:00.0: the host uses others of its IOMMU group 7: 0000:01:00.1 (snd)")
}

func TestFindUSB(t *testing.T) {
	const usb = "sys/bus/usb/devices/"
	fakeHost(t,
		usb+"1-1.4/idVendor=0627\n", usb+"1-1.4/idProduct=0001\n", usb+"1-1.4/busnum=1\n", usb+"1-1.4/devnum=12\n", usb+"1-1.4/devpath=1.4\n",
		usb+"1-1.4:1.0/bInterfaceClass=03\n",
		usb+"2-1/idVendor=0627\n", usb+"2-1/idProduct=0002\n", usb+"2-1/busnum=2\n", usb+"2-1/devnum=3\n", usb+"2-1/devpath=1\n",
		"dev/bus/usb/001/012=", "dev/bus/usb/002/003=",
	)
	const none = ": none is plugged in"
	for _, tt := range []struct {
		props, want, err string
	}{
		{"vendorid=0x0627 productid=1", "001/012", ""},
		{"vendorid=0x0627 productid=0x2", "002/003", ""},
		{"hostbus=1 hostport=1.4", "001/012", ""},
		{"hostbus=2 hostaddr=3", "002/003", ""},
		{"hostbus=1 hostport=1", "", "find USB device with bus 1, port 1" + none},
		{"vendorid=0x1234", "", "find USB device with vendor 0x1234" + none},
		{"vendorid=usb", "", "vendorid=usb: it is no number that a device has"},
		{"productid=0x12345", "", "productid=0x12345: it is no number that a device has"},
	} {
		var u USB
		var err error
		for prop := range strings.FieldsSeq(tt.props) {
			key, value, _ := strings.Cut(prop, "=")
			err = errors.Join(err, u.Set(key, value))
		}
		got := ""
		if err == nil {
			got, err = FindUSB(u)
		}
		if tt.want != "" && got != filepath.Join(dev, "bus/usb", tt.want) {
			t.Errorf("FindUSB(%s) = %q; want %s", tt.props, got, tt.want)
		}
		checkError(t, "FindUSB("+tt.props+")", err, tt.err)
	}
}

// TestNoteOfAnotherBoot: a boot gives all devices their drivers back.
func TestNoteOfAnotherBoot(t *testing.T) {
	fakeHost(t, pciDir+"0000:01:00.0/driver>../../drivers/vfio-pci")
	note := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(note, []byte(`{"bootId": "another", "devices": [{"address": "0000:01:00.0", "driver": "e1000e"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	checkError(t, "Reclaim", Reclaim(note), "")
	if _, err := os.Stat(note); !os.IsNotExist(err) {
		t.Errorf("the note of another boot is still there: %v", err)
	}
	checkError(t, "Reclaim without a note", Reclaim(note), "")
}

func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
		if he := (*HostError)(nil); errors.As(err, &he) && he.Hint == "" {
			t.Errorf("%s: %v has no hint", what, err)
		}
	}
	if got != want {
		t.Errorf("%s: error %q; want %q", what, got, want)
	}
}
