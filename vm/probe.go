package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/state"
)

const (
	// probeFormat is counted up when [qemu.Capabilities] learns to say more.
	probeFormat = 1

	// probeLimit is how long a QEMU may take to say what it can do. It takes a
	// quarter of a second.
	probeLimit = 20 * time.Second
)

// A probed QEMU is what the cache knows of it.
type probed struct {
	Format       int               `json:"format"`
	Capabilities qemu.Capabilities `json:"capabilities"`
}

// ProbeQEMU returns what the QEMU program at a path can do. It is asked once and
// its answer kept in dirs.Cache, by the program's path, size and time of change;
// a file there that cannot be read or is of another program is written anew. A
// cache that cannot be written costs time, and is no error.
func ProbeQEMU(ctx context.Context, dirs state.Dirs, path string) (qemu.Capabilities, error) {
	file := probeFile(dirs, path)
	if c, ok := readProbe(file, path); ok {
		return c, nil
	}
	return probeAnew(ctx, file, path)
}

func probeFile(dirs state.Dirs, path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(dirs.Probes(), hex.EncodeToString(sum[:8])+".json")
}

func readProbe(file, path string) (c qemu.Capabilities, ok bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return c, false
	}
	var p probed
	if err := json.Unmarshal(b, &p); err != nil {
		return c, false
	}
	c = p.Capabilities
	return c, p.Format == probeFormat && c.Path == path && len(c.Devices) > 0 && c.Fresh()
}

func probeAnew(ctx context.Context, file, path string) (qemu.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	c, err := qemu.Probe(ctx, path)
	if err != nil {
		return c, err
	}
	if b, err := json.Marshal(probed{probeFormat, c}); err == nil && os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = state.WriteFile(file, b)
	}
	return c, nil
}

// checkQEMU returns a [qemu.HostError] with all that the machine needs and the
// program lacks. Before anything is said to be lacking the program is asked
// anew: QEMU's modules are packages of their own, which leave the program as it
// is. A program that does not answer here will not run, either, and then says
// why.
func (s *supervisor) checkQEMU(ctx context.Context, path string, m *qemu.Machine) error {
	file := probeFile(s.o.Dirs, path)
	if c, ok := readProbe(file, path); ok && c.Check(m) == nil {
		return nil
	}
	c, err := probeAnew(ctx, file, path)
	if err != nil {
		return ctx.Err()
	}
	return c.Check(m)
}
