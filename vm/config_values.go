package vm

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A definitionValue reads itself from what stands in a definition: a string,
// int64, float64, bool, []any or map[string]any. Its error is the rest of a
// sentence that begins with the key.
type definitionValue interface {
	setDefinition(v any) error
}

var (
	_ definitionValue = (*Duration)(nil)
	_ definitionValue = (*CID)(nil)
	_ definitionValue = (*Command)(nil)
	_ definitionValue = (*Threads)(nil)
)

// A Duration is a length of time. A definition writes it as a number of
// seconds (90), or as a string with units ("90s", "1m30s", "250ms").
type Duration time.Duration

// maxDuration bounds every time limit of a definition. A week is far beyond
// any of them, and far from overflowing.
const maxDuration = Duration(7 * 24 * time.Hour)

func (d *Duration) setDefinition(v any) error {
	switch v := v.(type) {
	case int64:
		if v < 0 || v > int64(time.Duration(maxDuration)/time.Second) {
			return fmt.Errorf("%d is no time limit; write seconds between 0 and a week", v)
		}
		*d = Duration(v) * Duration(time.Second)
		return nil
	case string:
		p, err := time.ParseDuration(v)
		if err != nil || p < 0 || Duration(p) > maxDuration {
			return fmt.Errorf(`%s is no time limit; write seconds (90) or units ("1m30s") up to a week`, quoteShort(v))
		}
		*d = Duration(p)
		return nil
	}
	return fmt.Errorf(`want seconds (90) or a string with units ("1m30s"), not %s`, kindOf(v))
}

// MarshalJSON writes the form with units.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// A CID is a vsock context id.
type CID int64

// CIDAuto asks mvm to pick a free context id. A definition writes "auto".
const CIDAuto CID = -1

func (c *CID) setDefinition(v any) error {
	switch v := v.(type) {
	case int64:
		// 0 to 2 are the hypervisor, loopback and the host; 2^32-1 is "any".
		if v < 3 || v >= math.MaxUint32 {
			return fmt.Errorf(`%d is no guest's context id; use 3 to 4294967294 or "auto"`, v)
		}
		*c = CID(v)
		return nil
	case string:
		if v == "auto" {
			*c = CIDAuto
			return nil
		}
		return fmt.Errorf(`%s is no context id; use 3 to 4294967294 or "auto"`, quoteShort(v))
	}
	return fmt.Errorf(`want a number or "auto", not %s`, kindOf(v))
}

// MarshalJSON writes "auto" for [CIDAuto].
func (c CID) MarshalJSON() ([]byte, error) {
	if c == CIDAuto {
		return []byte(`"auto"`), nil
	}
	return strconv.AppendInt(nil, int64(c), 10), nil
}

// A Command is a program and its arguments. A definition writes a list, or a
// string for a program without arguments; no shell splits it.
type Command []string

func (c *Command) setDefinition(v any) error {
	switch v := v.(type) {
	case string:
		*c = Command{v}
		return nil
	case []any:
		args := make(Command, len(v))
		for i, a := range v {
			s, ok := a.(string)
			if !ok {
				return fmt.Errorf("want a list of strings; its element %d is %s", i, kindOf(a))
			}
			args[i] = s
		}
		*c = args
		return nil
	}
	return fmt.Errorf("want a path or a list of a path and arguments, not %s", kindOf(v))
}

// Threads is a number of threads. A definition writes a number or "auto",
// which is zero. The string "`nproc`", which microvm.nix uses, is the same.
type Threads int

func (t *Threads) setDefinition(v any) error {
	switch v := v.(type) {
	case int64:
		if v < 0 || v > 1024 {
			return fmt.Errorf(`%d threads are not possible; use 1 to 1024, or "auto"`, v)
		}
		*t = Threads(v)
		return nil
	case string:
		if v == "auto" || v == "`nproc`" || v == "$(nproc)" {
			*t = 0
			return nil
		}
		if n, err := strconv.ParseUint(v, 10, 10); err == nil {
			*t = Threads(n)
			return nil
		}
		return fmt.Errorf(`%s is no number of threads; use 1 to 1024, or "auto"`, quoteShort(v))
	}
	return fmt.Errorf(`want a number or "auto", not %s`, kindOf(v))
}

// kindOf names the kind of a value for a person.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a number"
	case float64:
		return "a fraction"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time" // all else that TOML has
}

// quoteShort quotes s, cut so that a message stays one line.
func quoteShort(s string) string {
	const limit = 60
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "..."
	}
	return strconv.Quote(s)
}
