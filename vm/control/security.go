package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/mvmrun/mvm/vm/security"
)

// An Inspected machine can look at its processes. The server asks for it by
// "GET /v1/security".
type Inspected interface {
	// Security is what QEMU and its helpers are and may do now. The error
	// says that there is no QEMU, or that it may not be looked at.
	Security(ctx context.Context) (Security, error)
}

// A Security is how well a machine is shut in, by process: QEMU first.
type Security struct {
	Processes []Confined `json:"processes"`
}

// Weaker reports whether any process is less confined than it should be.
func (s *Security) Weaker() bool {
	for _, p := range s.Processes {
		if len(p.Weaker) > 0 {
			return true
		}
	}
	return false
}

// A Confined process is one of a machine's, as it is, and in which ways it is
// less confined than its definition says.
type Confined struct {
	Name string `json:"name"` // "QEMU", "virtiofsd of share src"
	security.Process
	Weaker []string `json:"weaker"` // sentences about it; empty if there are none
}

func (h handler) security(w http.ResponseWriter, r *http.Request) {
	m, ok := h.m.(Inspected)
	if !ok {
		http.Error(w, "this machine cannot look at its processes", http.StatusConflict)
		return
	}
	s, err := m.Security(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

// Security asks what the machine's processes are and may do now.
func (c *Client) Security(ctx context.Context) (Security, error) {
	var s Security
	resp, err := c.do(ctx, http.MethodGet, "/v1/security", nil)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", c.name, err)
	}
	return s, nil
}
