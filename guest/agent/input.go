package agent

import (
	"fmt"
	"io"
	"sync"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// An input is standard input on its way from the host to a command: at most
// handoff.Window bytes, which the host gets back as the command takes them.
type input struct {
	mu      sync.Mutex
	cond    *sync.Cond
	chunks  [][]byte
	waiting int  // bytes in chunks or being written
	ended   bool // the host has said so: no more chunks
	shut    bool // the command is over
}

func newInput() *input {
	in := &input{}
	in.cond = sync.NewCond(&in.mu)
	return in
}

// put adds a chunk. An empty one is the end, and what comes after it is lost.
func (in *input) put(chunk []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended || in.shut {
		return nil
	}
	if len(chunk) == 0 {
		in.ended = true
	} else {
		if in.waiting += len(chunk); in.waiting > handoff.Window {
			return fmt.Errorf("%w: %d bytes of input are waiting, the window is %d", handoff.ErrProtocol, in.waiting, handoff.Window)
		}
		in.chunks = append(in.chunks, chunk)
	}
	in.cond.Signal()
	return nil
}

// next waits for a chunk. It returns nil at the end.
func (in *input) next() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.chunks) == 0 && !in.ended && !in.shut {
		in.cond.Wait()
	}
	if in.shut || len(in.chunks) == 0 {
		return nil
	}
	chunk := in.chunks[0]
	in.chunks = in.chunks[1:]
	return chunk
}

// pump writes the input to w until its end, and gives the bytes back to the
// host. A command that has closed its standard input is no error: the rest is
// thrown away, as a shell's pipe would.
func (in *input) pump(w io.Writer, credit func(n int)) {
	for broken := false; ; {
		chunk := in.next()
		if chunk == nil {
			return
		}
		if !broken {
			_, err := w.Write(chunk)
			broken = err != nil
		}
		in.mu.Lock()
		in.waiting -= len(chunk)
		in.mu.Unlock()
		credit(len(chunk))
	}
}

// close drops what is waiting and ends the pump.
func (in *input) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut, in.chunks = true, nil
	in.cond.Signal()
}
