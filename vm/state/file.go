package state

import (
	"os"
	"path/filepath"
)

// WriteFile puts b at path with mode 0600, so that a reader and a crash see
// the old contents or the new, never a part.
func WriteFile(path string, b []byte) error {
	return Replace(path, 0o600, func(w *os.File) error {
		_, err := w.Write(b)
		return err
	})
}

// Replace puts what write writes at path, so that a reader and a crash see the
// old contents or the new, never a part. Nothing is left when write fails.
func Replace(path string, mode os.FileMode, write func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
