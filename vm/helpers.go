package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// helpers are the programs that a machine needs beside QEMU, and the sockets on
// which QEMU speaks with them. QEMU ends first, then they do.
type helpers struct {
	files   map[string]*os.File // by the names in qemu.Machine.Files
	running []*sidecar.Helper
	died    chan *sidecar.Helper // buffered for all of them: nobody may listen
}

// shareFile names the socket of a virtiofs share among QEMU's files.
func shareFile(tag string) string { return "share " + tag }

// startHelpers starts a virtiofsd for each share that needs one, and a passt for
// each interface. When one does not start, none is left.
func (s *supervisor) startHelpers(ctx context.Context, host Host, m *qemu.Machine) (*helpers, error) {
	h := &helpers{files: make(map[string]*os.File)}
	daemon := host.Virtiofsd
	for i := range s.c.Shares {
		share := &s.c.Shares[i]
		if host.protocol(share) != "virtiofs" {
			continue
		}
		if daemon == nil {
			var err error
			if daemon, err = sidecar.FindVirtiofsd(ctx, s.c.Path(s.c.Virtiofsd.Package)); err != nil {
				return nil, errors.Join(err, h.stop(ctx))
			}
		}
		helper, socket, err := daemon.Start(ctx, s.c.virtiofsd(share, s.place.Runtime))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("shares[%d]: %w", i, err), h.stop(ctx))
		}
		h.running = append(h.running, helper)
		h.files[shareFile(share.Tag)] = socket
	}
	if err := s.startPassts(ctx, m, h); err != nil {
		return nil, errors.Join(err, h.stop(ctx))
	}
	h.died = make(chan *sidecar.Helper, len(h.running))
	for _, helper := range h.running {
		go func() { // ends with the helper, which stop waits for
			<-helper.Done()
			h.died <- helper
		}()
	}
	return h, nil
}

// virtiofsd is a share in the words of package sidecar. What overlayfs notes about
// a file on a share is in the file's extended attributes.
func (c *Config) virtiofsd(s *Share, dir string) sidecar.Virtiofsd {
	return sidecar.Virtiofsd{
		Share: s.Tag, Source: s.Source, Dir: dir,
		ReadOnly: c.keepsReadOnly(s), Cache: s.CachePolicy(),
		Xattr: s.PassesACLs() || c.carriesOverlay(s), PosixACL: s.PassesACLs(),
		Threads: cmp.Or(int(c.Virtiofsd.ThreadPoolSize), runtime.NumCPU()), FileHandles: c.Virtiofsd.FileHandles(),
		ExtraArgs: append(append([]string(nil), c.Virtiofsd.ExtraArgs...), s.ExtraArgs...),
	}
}

// carriesOverlay reports whether what is written to the guest's store goes to a
// share.
func (c *Config) carriesOverlay(s *Share) bool {
	return c.WritableStoreOverlay != "" && s.MountPoint != "" && s.MountPoint == c.mountedUnder(c.WritableStoreOverlay).where
}

// stop ends the helpers, in reverse, and reports those that would not end. What
// is left of files is closed; QEMU's start has closed those that it was given.
func (h *helpers) stop(ctx context.Context) error {
	// A helper's own limits are a few seconds each.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, f := range h.files {
		f.Close()
	}
	var wrong *multierror.Error
	for _, helper := range slices.Backward(h.running) {
		if err := helper.Stop(ctx); err != nil {
			wrong = multierror.Append(wrong, err)
		}
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
	}
	return wrong.ErrorOrNil()
}
