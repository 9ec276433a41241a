package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sdnotify"
)

// maxCredentials is how many bytes of credentials systemd takes in all
// (CREDENTIALS_TOTAL_SIZE_MAX). What is beyond them it leaves out.
const maxCredentials = 1 << 20

// credentialFile names a credential among QEMU's files.
func credentialFile(name string) string { return "credential " + name }

// openCredentials adds a file for each credential to those of one run of QEMU. It
// is in memory, since QEMU opens it anew and need not have the right to read the
// owner's, and cannot be written to. All that is wrong is reported at once.
func (c *Config) openCredentials(files map[string]*os.File) error {
	var wrong *multierror.Error
	total := 0
	for _, name := range sortedKeys(c.CredentialFiles) {
		text, err := readCredential(c.Path(c.CredentialFiles[name]), maxCredentials-total)
		if err == nil {
			total += len(text)
			files[credentialFile(name)], err = sealed("credential", text)
		}
		if err != nil {
			wrong = multierror.Append(wrong, fmt.Errorf("%s: %w", keyIn("credentialFiles", name), err))
		}
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
	}
	return wrong.ErrorOrNil()
}

// readCredential returns what a file holds, at most room bytes.
func readCredential(path string, room int) ([]byte, error) {
	// Nobody need write to a pipe of that name.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		op, cause := "open "+path, err
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			cause = pe.Err // Op names the file already
		}
		return nil, &HostError{Op: op, Err: cause, Hint: "put the secret there before the machine starts, readable by the user who starts it"}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &HostError{Op: "read " + path, Err: errors.New("it is no regular file"), Hint: "name a file that holds the secret"}
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(room)+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > room:
		return nil, &HostError{Op: "read " + path, Err: errors.New("the credentials have more than 1 MiB in all"),
			Hint: "give the guest less: systemd takes no more, and a volume or a share holds any amount"}
	}
	return text, nil
}

// sealed returns a file in memory that nobody can change any more.
func sealed(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(text); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// credentials are those of the definition in QEMU's words, sorted: a command line
// must have an order. The last is of mvm's own: where systemd is to say how it is.
func (c *Config) credentials(notify bool) []qemu.Credential {
	var list []qemu.Credential
	for _, name := range sortedKeys(c.CredentialFiles) {
		list = append(list, qemu.Credential{
			Name: name, Path: c.Path(c.CredentialFiles[name]), File: credentialFile(name),
		})
	}
	if notify {
		list = append(list, qemu.Credential{Name: sdnotify.Credential, File: credentialFile(sdnotify.Credential)})
	}
	return list
}
