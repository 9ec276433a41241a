package qmpconn

import (
	"errors"
	"fmt"
)

// ErrClosed is matched by the error of every call on a connection that has
// ended, for whatever reason.
var ErrClosed = errors.New("QMP connection closed")

// ErrProtocol is matched by an error that says how QEMU broke the protocol.
var ErrProtocol = errors.New("QMP protocol violated")

// A CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string // "device_add"
	Class   string // "GenericError", "CommandNotFound", …
	Desc    string // for people; may be empty
}

func (e *CommandError) Error() string {
	if e.Desc == "" {
		return fmt.Sprintf("%s: %s", e.Command, e.Class)
	}
	return fmt.Sprintf("%s: %s", e.Command, e.Desc)
}

// closedError is ErrClosed with its cause.
type closedError struct{ cause error }

func (e *closedError) Error() string {
	if e.cause == nil {
		return ErrClosed.Error()
	}
	return fmt.Sprintf("%v: %v", ErrClosed, e.cause)
}

func (e *closedError) Is(target error) bool { return target == ErrClosed }
func (e *closedError) Unwrap() error        { return e.cause }
