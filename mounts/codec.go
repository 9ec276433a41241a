package mounts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// MaxPlan is how many bytes an encoded plan may have. A thousand mounts take
// less than half of it.
const MaxPlan = 1 << 20

// Encode returns the plan as JSON for [Decode]. It does not call [Plan.Check].
func Encode(p Plan) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, err
	}
	if b.Len() > MaxPlan {
		return nil, fmt.Errorf("mount plan of %d bytes, at most %d are allowed", b.Len(), MaxPlan)
	}
	return b.Bytes(), nil
}

// Decode reads one plan, and nothing after it, from r. It refuses another
// [Version], unknown fields, and more than [MaxPlan] bytes. Whether the plan
// makes sense is left to [Plan.Check].
func Decode(r io.Reader) (Plan, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxPlan+1))
	if err != nil {
		return Plan{}, fmt.Errorf("mount plan: %w", err)
	}
	if len(data) > MaxPlan {
		return Plan{}, fmt.Errorf("mount plan: over %d bytes", MaxPlan)
	}
	// The version first: an unknown field is what a later version looks like.
	// Unlike a decoder, Unmarshal also refuses data after the end.
	var head struct{ Version int }
	if err := json.Unmarshal(data, &head); err != nil {
		return Plan{}, fmt.Errorf("mount plan: %w", err)
	}
	if head.Version != Version {
		return Plan{}, fmt.Errorf("mount plan: version %d, this program knows %d", head.Version, Version)
	}
	var p Plan
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("mount plan: %w", err)
	}
	return p, nil
}
