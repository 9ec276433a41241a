package storedisk

import (
	"context"
	"errors"
)

// makeBtrfs will make a btrfs image.
func (j *job) makeBtrfs(context.Context) error {
	return errors.New("store disks of type btrfs are not built yet: use another type")
}
