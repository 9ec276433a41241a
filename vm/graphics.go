package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// renderNodes are the kernel's files of GPUs for programs that show nothing.
const renderNodes = "/dev/dri/renderD*"

// checkGraphics finds out whether a QEMU that runs as cred, or as this user if that
// is nil, has what it needs to draw: a desktop for a window, a GPU without one. That
// QEMU itself can is found out by its probe.
func (c *Config) checkGraphics(cred *syscall.Credential, desktop bool) error {
	if !c.Graphics.Enable {
		return nil
	}
	if c.Graphics.Display() == "gtk" {
		if desktop {
			return nil
		}
		return &HostError{
			Op: "open a window for the guest", Err: errors.New("neither DISPLAY nor WAYLAND_DISPLAY is set"),
			Hint: `run the machine from a desktop's terminal, or set graphics.backend = "headless"`,
		}
	}
	return checkRenderNode(renderNodes, cred)
}

// checkRenderNode looks for a file that matches the pattern and may be opened.
func checkRenderNode(pattern string, cred *syscall.Credential) error {
	const op = "find a GPU to draw with"
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return &HostError{Op: op, Err: fmt.Errorf("there is no %s", pattern),
			Hint: "load the driver of the GPU, or vgem to draw without one, or pass /dev/dri into this container"}
	}
	if cred == nil {
		cred = ownCredential()
	}
	for _, file := range files {
		fi, err := os.Stat(file)
		if err != nil {
			return err
		}
		const readWrite = 0o6
		if permits(fi, cred, readWrite) {
			return nil
		}
	}
	return &HostError{Op: op, Err: fmt.Errorf("%s: %w", files[0], fs.ErrPermission),
		Hint: fmt.Sprintf("let user %d into the group that may open it, which is render where udev's rules are systemd's", cred.Uid)}
}
