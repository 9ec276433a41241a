package hostdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/vm/state"
)

// A Loan is the PCI devices that a machine has.
type Loan struct {
	note  string
	taken []*device // from their drivers; no others are given back
}

// A note is what a file says of a loan.
type note struct {
	// BootID is that of the host's boot: the next has all devices with their
	// own drivers.
	BootID  string    `json:"bootId"`
	Devices []*device `json:"devices"`
}

// Borrow gives the PCI devices at the addresses to vfio-pci, for a machine that
// notes them in a file, and the right to open them to the user with the id owner, if
// that is not 0. Everything that stands in the way is reported at once, as a
// [HostError] for each device, and then nothing has changed.
func Borrow(addresses []string, noteFile string, owner int) (*Loan, error) {
	if err := Reclaim(noteFile); err != nil {
		return nil, err
	}
	l := &Loan{note: noteFile}
	var (
		wanted []*device
		wrong  *multierror.Error
	)
	for _, a := range addresses {
		d, err := find(a)
		if err != nil {
			wrong = multierror.Append(wrong, err)
			continue
		}
		wanted = append(wanted, d)
	}
	for _, d := range wanted {
		if err := d.checkGroup(wanted); err != nil {
			wrong = multierror.Append(wrong, err)
		}
		if d.Driver != vfio {
			l.taken = append(l.taken, d)
		}
	}
	if wrong != nil {
		return nil, all(wrong)
	}
	if len(l.taken) == 0 {
		return l, nil
	}
	if err := loadDriver(); err != nil {
		return nil, err
	}
	if err := l.write(); err != nil {
		return nil, err
	}
	for _, d := range l.taken {
		err := d.bind()
		if err == nil && owner != 0 {
			err = os.Chown(d.groupFile(), owner, -1) // the file goes with the driver
		}
		if err != nil {
			return nil, errors.Join(err, l.Return())
		}
	}
	return l, nil
}

// Taken lists the devices that were taken from their drivers, as
// "0000:01:00.0 from e1000e".
func (l *Loan) Taken() []string {
	list := make([]string, len(l.taken))
	for i, d := range l.taken {
		list[i] = d.Address + " from " + orNone(d.Driver)
	}
	return list
}

// Return gives the devices back to their drivers. No process may use them any more.
func (l *Loan) Return() error {
	var wrong *multierror.Error
	for _, d := range slices.Backward(l.taken) {
		if err := d.restore(); err != nil {
			wrong = multierror.Append(wrong, err)
		}
	}
	if wrong != nil || len(l.taken) == 0 {
		return all(wrong) // and the note stays, for the next run
	}
	return os.Remove(l.note)
}

// Reclaim gives back what a machine borrowed that was killed before it could. It
// does nothing without a note. The caller holds the machine's lock.
func Reclaim(noteFile string) error {
	b, err := os.ReadFile(noteFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var n note
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("%s: %w", noteFile, err)
	}
	self, err := state.Self()
	if err != nil {
		return err
	}
	l := &Loan{note: noteFile, taken: n.Devices}
	if n.BootID != self.BootID {
		return os.Remove(noteFile)
	}
	for _, d := range l.taken {
		d.group = linkName(d.path("iommu_group"))
	}
	return l.Return()
}

// write notes what is about to be taken.
func (l *Loan) write() error {
	self, err := state.Self()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(note{BootID: self.BootID, Devices: l.taken}, "", "  ")
	if err != nil {
		return err
	}
	return state.WriteFile(l.note, append(b, '\n'))
}
