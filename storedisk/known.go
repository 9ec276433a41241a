package storedisk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// closureDir holds the closures that Nix was asked for.
const closureDir = "closures"

// A knownClosure is an answer of Nix. It holds as long as the roots are the
// same inodes: what a valid path refers to does not change.
type knownClosure struct {
	Roots []string `json:"roots"` // paths on the host
	State []string `json:"state"` // of each root
	Names []string `json:"names"`
}

// Closure returns the roots and everything they refer to. It asks Nix only
// if it has not done so before, or one of the paths is gone: starting Nix takes
// longer than all else that [Cache.Build] does when nothing has changed.
func (c *Cache) Closure(ctx context.Context, n Nix, roots ...string) (*Closure, error) {
	r, err := New(n.StoreDir, roots)
	if err != nil {
		return nil, err
	}
	k := knownClosure{Roots: make([]string, len(r.Names))}
	h := sha256.New()
	for i, name := range r.Names {
		k.Roots[i] = r.Path(name)
		fmt.Fprintln(h, k.Roots[i])
	}
	file := filepath.Join(c.Dir, closureDir, hex.EncodeToString(h.Sum(nil)[:20]))
	if cl := n.known(ctx, r, file); cl != nil {
		return cl, nil
	}
	cl, err := n.Closure(ctx, roots...)
	if err != nil {
		return nil, err
	}
	if k.State, err = rootStates(k.Roots); err == nil {
		k.Names = cl.Names
		if err := k.write(file); err != nil {
			c.log().Debug("the closure is not remembered", "reason", err)
		}
	}
	return cl, nil
}

// known returns the remembered closure, or nil.
func (n Nix) known(ctx context.Context, roots *Closure, file string) *Closure {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var k knownClosure
	if json.Unmarshal(b, &k) != nil || len(k.State) != len(k.Roots) {
		return nil
	}
	state, err := rootStates(k.Roots)
	if err != nil {
		return nil
	}
	for i := range state {
		if state[i] != k.State[i] {
			return nil
		}
	}
	cl := &Closure{StoreDir: roots.StoreDir, Names: k.Names, Registration: Registration{nix: &n}}
	if cl.Check(ctx) != nil {
		return nil
	}
	return cl
}

// rootStates tells one incarnation of each path from any other.
func rootStates(paths []string) ([]string, error) {
	states := make([]string, len(paths))
	for i, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return nil, &os.PathError{Op: "lstat", Path: p, Err: err}
		}
		states[i] = fmt.Sprintf("%d:%d:%d.%d", st.Dev, st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
	}
	return states, nil
}

// write replaces the file as a whole. Two that write at once write the same.
func (k *knownClosure) write(file string) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".*"+tempSuffix)
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// dropClosures removes what is remembered of roots that are gone.
func (c *Cache) dropClosures() {
	files, _ := filepath.Glob(filepath.Join(c.Dir, closureDir, "*"))
	for _, file := range files {
		var k knownClosure
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &k)
		}
		if err == nil {
			_, err = rootStates(k.Roots)
		}
		if err != nil {
			os.Remove(file)
		}
	}
}
