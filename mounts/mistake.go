package mounts

import "fmt"

// A Mistake is one thing that is wrong with a [Config] or a [Plan]. [For] and
// [Plan.Check] join all that they find with [errors.Join], each a line of its
// own.
type Mistake struct {
	Subject string // "mount /nix/store", "volume data.img"
	Text    string // why it cannot work
	Hint    string // what to do about it, or ""
}

func (m *Mistake) Error() string { return m.Subject + ": " + m.Text }

// mistakes collects.
type mistakes []error

func (ms *mistakes) add(subject, format string, args ...any) *Mistake {
	m := &Mistake{Subject: subject, Text: fmt.Sprintf(format, args...)}
	*ms = append(*ms, m)
	return m
}
