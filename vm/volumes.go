package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/volume"
)

// volumes are a machine's images, locked for its whole life, in the order of the
// definition.
type volumes []*volume.Volume

// openVolumes makes the images that are to be made and are not there, or are too
// small, and keeps others away from all of them. What is made belongs to QEMU's
// user. When one is not to be had, none is kept.
func (s *supervisor) openVolumes(ctx context.Context, binary string, cred *syscall.Credential) (volumes, error) {
	var all volumes
	var wrong *multierror.Error
	for i := range s.c.Volumes {
		v := &s.c.Volumes[i]
		spec := volume.Spec{
			Path: v.path(s.place), Format: volume.Format(v.Format()), ReadOnly: v.ReadOnly,
			Create: v.CreatesImage(), MiB: v.Size, FSType: v.FileSystem(), Label: v.Label, Args: v.MkfsExtraArgs,
			QEMUImg: besideQEMU(binary),
		}
		if cred != nil {
			spec.Owner = volume.Owner{UID: int(cred.Uid), GID: int(cred.Gid)}
		}
		opened, err := volume.Open(ctx, spec)
		if err != nil {
			wrong = multierror.Append(wrong, fmt.Errorf("volumes[%d]: %w", i, s.explainVolume(err)))
			continue
		}
		all = append(all, opened)
		switch opened.Outcome {
		case volume.Made:
			s.note("made the volume %s (%s, %d MiB)", spec.Path, spec.FSType, spec.MiB)
		case volume.Grown:
			s.note("the volume %s has %d MiB now; the guest grows the file system on it", spec.Path, spec.MiB)
		}
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
		return nil, errors.Join(wrong, all.close())
	}
	return all, nil
}

// besideQEMU is the qemu-img that came with QEMU, or "".
func besideQEMU(binary string) string {
	path, err := exec.LookPath(filepath.Join(filepath.Dir(binary), "qemu-img"))
	if err != nil {
		return ""
	}
	return path
}

// explainVolume names the machine that uses an image.
func (s *supervisor) explainVolume(err error) error {
	locked := (*volume.LockedError)(nil)
	if !errors.As(err, &locked) {
		return err
	}
	e := &HostError{
		Op: "volume " + locked.Path, Err: errors.New("somebody else uses the image"),
		Hint: "end what uses it; only volumes that are readOnly for all can be shared",
	}
	switch name, pid := s.machineOf(locked.PIDs); {
	case pid == os.Getpid():
		e.Err = errors.New("another volume of this machine is the same image")
		e.Hint = "give each volume an image of its own"
	case name != "":
		e.Err = fmt.Errorf("the machine %s (process %d) uses the image", name, pid)
		e.Hint = fmt.Sprintf("stop it (mvm stop %s); only volumes that are readOnly for all can be shared", name)
	case len(locked.PIDs) > 0:
		e.Err = fmt.Errorf("process %d%s uses the image", locked.PIDs[0], programOf(locked.PIDs[0]))
	}
	return e
}

// machineOf is the machine that one of the processes supervises, or "", 0.
func (s *supervisor) machineOf(pids []int) (string, int) {
	names, err := s.o.Dirs.Names()
	if err != nil {
		return "", 0
	}
	for _, name := range names {
		id, err := s.o.Dirs.Machine(name).ReadIdentity()
		if err == nil && slices.Contains(pids, id.PID) && id.Alive() {
			return name, id.PID
		}
	}
	return "", 0
}

// programOf is a process's name in brackets, or "".
func programOf(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + harmless(comm[:max(len(comm)-1, 0)]) + ")"
}

// lend adds the images to the files that QEMU inherits.
func (vs volumes) lend(files map[string]*os.File) error {
	for i, v := range vs {
		f, err := v.File()
		if err != nil {
			return err
		}
		files[diskFile(volumeID(i))] = f
	}
	return nil
}

func (vs volumes) close() error {
	var wrong []error
	for _, v := range vs {
		wrong = append(wrong, v.Close())
	}
	return errors.Join(wrong...)
}

// volumeID is what QEMU calls a volume.
func volumeID(i int) string { return fmt.Sprintf("volume%d", i) }

// blockDevices are those of the machine's volumes that are block devices of the
// host.
func (c *Config) blockDevices(place state.Machine) map[string]bool {
	found := make(map[string]bool)
	for i := range c.Volumes {
		path := c.Volumes[i].path(place)
		if fi, err := os.Stat(path); err == nil && fi.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice {
			found[path] = true
		}
	}
	return found
}
