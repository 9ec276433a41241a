package sidecar

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// frameLimit is more than passt or QEMU put into one frame: 64 KiB of IP and
// its headers.
const frameLimit = 1 << 17

// relayBuffer holds several of the largest frames, so that a stream costs few
// system calls.
const relayBuffer = 4 * frameLimit

// A relay is this process between QEMU and passt.
type relay struct {
	qemu, passt net.Conn
	wg          sync.WaitGroup
}

// startRelay passes frames on between two sockets, which it closes, each
// rewritten by r. When one hangs up, so does the other.
func startRelay(r *redirector, qemu, passt *os.File) (*relay, error) {
	defer qemu.Close() // what is passed on between is a duplicate
	defer passt.Close()
	y := new(relay)
	var err error
	if y.qemu, err = net.FileConn(qemu); err != nil {
		return nil, err
	}
	if y.passt, err = net.FileConn(passt); err != nil {
		y.qemu.Close()
		return nil, err
	}
	pass := func(to, from net.Conn, rewrite func([]byte)) {
		y.wg.Go(func() {
			_ = passFrames(to, from, rewrite) // whatever it is, the guest's network is over
			y.hangUp()
		})
	}
	pass(y.passt, y.qemu, r.fromGuest)
	pass(y.qemu, y.passt, r.toGuest)
	return y, nil
}

func (y *relay) hangUp() {
	y.qemu.Close()
	y.passt.Close()
}

// stop hangs up and waits until nothing is left.
func (y *relay) stop() {
	y.hangUp()
	y.wg.Wait()
}

// passFrames copies frames, each after its length, until from ends or to does.
func passFrames(to io.Writer, from io.Reader, rewrite func([]byte)) error {
	b := make([]byte, relayBuffer)
	kept := 0 // bytes of a frame whose rest is on its way
	for {
		n, err := from.Read(b[kept:])
		if err != nil {
			return err
		}
		all := b[:kept+n]
		whole, err := eachFrame(all, rewrite)
		if err != nil {
			return err
		}
		if _, err := to.Write(all[:whole]); err != nil {
			return err
		}
		kept = copy(b, all[whole:])
	}
}

// eachFrame calls f for every whole frame in b, and returns where the last one
// ends.
func eachFrame(b []byte, f func([]byte)) (int, error) {
	const head = 4
	at := 0
	for len(b)-at >= head {
		size := binary.BigEndian.Uint32(b[at:])
		if size > frameLimit {
			return at, fmt.Errorf("a frame of %d bytes", size)
		}
		if uint32(len(b)-at-head) < size {
			break
		}
		f(b[at+head : at+head+int(size)])
		at += head + int(size)
	}
	return at, nil
}
