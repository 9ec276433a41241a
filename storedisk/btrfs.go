package storedisk

import (
	"context"
	"errors"
	"os"

	"github.com/mvmrun/mvm/storedisk/btrfs"
)

// makeBtrfs makes a btrfs image. Package btrfs says why not with mkfs.btrfs.
func (j *job) makeBtrfs(ctx context.Context) error {
	f, err := os.OpenFile(j.temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	paths := make([]btrfs.Path, len(j.closure.Names))
	for i, name := range j.closure.Names {
		paths[i] = btrfs.Path{Name: name, Source: j.closure.Path(name)}
	}
	err = btrfs.Build(ctx, f, paths, btrfs.Options{
		Label: Label, UUID: j.key.uuid(), Jobs: j.opts.Jobs,
		Progress: func(done, total int64) { j.progress("writing", done, total) },
	})
	return errors.Join(err, f.Close())
}
