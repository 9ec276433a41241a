package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// converter returns what writes a raw image to another file in the format, nil
// for raw ones.
func (f Format) converter(s Spec) (func(ctx context.Context, from, to *os.File) error, error) {
	if f.raw() {
		return nil, nil
	}
	program, err := qemuImg(s)
	if err != nil {
		return nil, err
	}
	args := []string{"convert", "-f", "raw", "-O", f.QEMU()}
	switch f {
	case VHD:
		// Otherwise the size is rounded to a disk's cylinders of old.
		args = append(args, "-o", "subformat=dynamic,force_size=on")
	case VHDX:
		args = append(args, "-o", "subformat=dynamic")
	}
	return func(ctx context.Context, from, to *os.File) error {
		_, err := runTool(ctx, "make "+s.op(), program, s.Path, append(args, inheritedFile(0), inheritedFile(1)), from, to)
		return err
	}, nil
}

// grow gives the disk in an image so many bytes.
func (f Format) grow(ctx context.Context, s Spec, image *os.File, size int64) error {
	op := "grow " + s.op()
	switch {
	case f.raw():
		if err := image.Truncate(size); err != nil {
			return fmt.Errorf("%s: %w", op, cause(err))
		}
	case f == QCOW2:
		program, err := qemuImg(s)
		if err != nil {
			return err
		}
		args := []string{"resize", "-q", "-f", f.QEMU(), inheritedFile(0), strconv.FormatInt(size, 10)}
		if _, err := runTool(ctx, op, program, s.Path, args, image); err != nil {
			return err
		}
	default:
		return &HostError{Op: op, Err: fmt.Errorf("nothing grows an image of type %s", f),
			Hint: fmt.Sprintf("convert it to raw or qcow2 (qemu-img convert -f %s), and set imageType", f.QEMU())}
	}
	if err := image.Sync(); err != nil {
		return fmt.Errorf("%s: %w", op, cause(err))
	}
	return nil
}

// virtualSize asks qemu-img for the size of the disk in an image of a format that
// leads to no other file.
func virtualSize(ctx context.Context, s Spec, image *os.File) (int64, error) {
	program, err := qemuImg(s)
	if err != nil {
		return 0, err
	}
	out, err := runTool(ctx, s.op(), program, s.Path, []string{"info", "--output=json", "-f", s.Format.QEMU(), inheritedFile(0)}, image)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return 0, &HostError{Op: s.op(), Err: fmt.Errorf("it is no %s image", s.Format), Hint: "correct imageType, or convert it (qemu-img convert)"}
	}
	if err != nil {
		return 0, err
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return 0, fmt.Errorf("%s: qemu-img info: %w", s.op(), err)
	}
	return info.Size, nil
}

func qemuImg(s Spec) (string, error) {
	if s.QEMUImg != "" {
		return s.QEMUImg, nil
	}
	program, err := LookPath("qemu-img")
	if err != nil {
		return "", &HostError{Op: s.op(), Err: errors.New("qemu-img is not installed"), Hint: "install qemu-utils, or use raw images"}
	}
	return program, nil
}

// inheritedFile is where a tool finds the i-th file that it inherits, which may
// have no other name.
func inheritedFile(i int) string { return "/proc/self/fd/" + strconv.Itoa(3+i) }

// runTool runs a program on files that it inherits, and returns its output. In
// what it says about them, they are called by the image's path.
func runTool(ctx context.Context, op, program, path string, args []string, files ...*os.File) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	// Its words are looked at, below; labels are UTF-8.
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		said := string(out)
		for i := range files {
			said = strings.ReplaceAll(said, inheritedFile(i), path)
		}
		return "", toolError(op, program, said, err, files)
	}
	return string(out), nil
}
