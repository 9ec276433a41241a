package handoff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Check returns everything in the orders that mvm-init could not carry out, the
// mistakes of the plan included.
func (b Boot) Check() error {
	var wrong []error
	if b.Version != Version {
		wrong = append(wrong, fmt.Errorf("boot orders: version %d, this program knows %d", b.Version, Version))
	}
	if len(b.Init) == 0 || !path.IsAbs(b.Init[0]) {
		wrong = append(wrong, fmt.Errorf("boot orders: init %q does not begin with an absolute path", b.Init))
	}
	for _, arg := range b.Init {
		if strings.ContainsRune(arg, 0) {
			wrong = append(wrong, fmt.Errorf("boot orders: argument %q of init has a NUL", arg))
		}
	}
	for _, m := range b.Modules {
		if m == "" || m == "." || m == ".." || strings.ContainsAny(m, "/\x00") {
			wrong = append(wrong, fmt.Errorf("boot orders: module %q is not the name of a file", m))
		}
	}
	if b.DeviceTimeout < 0 {
		wrong = append(wrong, fmt.Errorf("boot orders: device timeout of %d ms is negative", b.DeviceTimeout))
	}
	if b.Registration != "" && !path.IsAbs(b.Registration) {
		wrong = append(wrong, fmt.Errorf("boot orders: registration %q is not an absolute path", b.Registration))
	}
	if err := b.Plan.Check(); err != nil {
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// EncodeBoot returns the orders as JSON for [DecodeBoot], after [Boot.Check].
func EncodeBoot(b Boot) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxBoot {
		return nil, fmt.Errorf("boot orders of %d bytes, at most %d are allowed", len(data), MaxBoot)
	}
	return data, nil
}

// DecodeBoot reads orders, and nothing after them, from r. It refuses another
// [Version], unknown fields, more than [MaxBoot] bytes, and what fails
// [Boot.Check].
func DecodeBoot(r io.Reader) (Boot, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBoot+1))
	if err != nil {
		return Boot{}, fmt.Errorf("boot orders: %w", err)
	}
	if len(data) > MaxBoot {
		return Boot{}, fmt.Errorf("boot orders: over %d bytes", MaxBoot)
	}
	var b Boot
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err = dec.Decode(&b)
	if err != nil || len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return Boot{}, fmt.Errorf("boot orders: %w", explain(data, err))
	}
	if err := b.Check(); err != nil {
		return Boot{}, err
	}
	return b, nil
}

// explain says why data is no orders, given what a strict decoder said of them.
// An unknown field is what a later version looks like, and unlike a decoder
// Unmarshal looks at what follows the end.
func explain(data []byte, err error) error {
	var head struct{ Version int }
	if herr := json.Unmarshal(data, &head); herr != nil {
		return herr
	}
	if head.Version != Version {
		return fmt.Errorf("version %d, this program knows %d", head.Version, Version)
	}
	return err
}
