package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mvmrun/mvm/vm/console"
)

// consoleProto is what a console request upgrades its connection to: the
// console's bytes both ways. Without the upgrade the response's body is the
// console, for readers such as curl.
const consoleProto = "mvm-console"

// console streams the guest's console until the guest ends or the client leaves.
// The query's "tail" is how many bytes of the past to begin with.
func (h handler) console(w http.ResponseWriter, r *http.Request) {
	hub := h.m.Console()
	if hub == nil {
		http.Error(w, fmt.Sprintf("the guest is %s and has no console", h.m.Status().State), http.StatusConflict)
		return
	}
	tail, err := strconv.Atoi(r.URL.Query().Get("tail"))
	if err != nil {
		tail = 0
	}
	reader := hub.Attach(tail)
	defer reader.Close()
	if r.Header.Get("Upgrade") == consoleProto {
		h.attach(w, r, hub, reader)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	stop := context.AfterFunc(r.Context(), func() { reader.Close() })
	defer stop()
	_, _ = io.Copy(flushing{w, http.NewResponseController(w)}, reader)
}

// attach is a console to type at. One client may type at a time: two people at
// one keyboard help nobody.
func (h handler) attach(w http.ResponseWriter, r *http.Request, hub *console.Hub, reader *console.Reader) {
	keyboard, err := hub.Acquire()
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer keyboard.Release()
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	if err := switchProtocols(buf, consoleProto); err != nil {
		return
	}
	// A guest that does not read what is typed keeps the typist waiting, but not
	// the keyboard from the next one.
	defer onHangUp(conn, func() {
		keyboard.Release()
		reader.Close()
	})()
	left := make(chan struct{})
	go func() { // ends when the client hangs up, with conn, or with the keyboard
		defer close(left)
		_, _ = io.Copy(keyboard, buf)
		reader.Close()
	}()
	_, _ = io.Copy(deadlined{conn}, reader)
	conn.Close()
	keyboard.Release()
	<-left
}

// flushing passes every write on at once.
type flushing struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	// A client that stopped reading is dropped, not waited for.
	_ = f.rc.SetWriteDeadline(time.Now().Add(slowClient))
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

// deadlined drops a client that stopped reading.
type deadlined struct{ net.Conn }

func (d deadlined) Write(p []byte) (int, error) {
	_ = d.SetWriteDeadline(time.Now().Add(slowClient))
	return d.Conn.Write(p)
}

// slowClient is how long a client may take to read what there is for it. A
// terminal that is stopped with ^S is such a client.
const slowClient = 10 * time.Minute

// Console connects to the guest's console, beginning with at most tail bytes of
// its past. What is written to the connection is typed at it.
func (c *Client) Console(ctx context.Context, tail int) (io.ReadWriteCloser, error) {
	return c.upgrade(ctx, http.MethodGet, "/v1/console?tail="+strconv.Itoa(tail), consoleProto)
}

// Watch reads the guest's console without typing at it.
func (c *Client) Watch(ctx context.Context, tail int) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/console?tail="+strconv.Itoa(tail), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// upgrade asks for path and returns the connection when the server has changed
// to the protocol.
func (c *Client) upgrade(ctx context.Context, method, path, proto string) (*bufferedConn, error) {
	conn, err := dial(ctx, c.path)
	if err != nil {
		return nil, c.wrap(err)
	}
	resp, bc, err := switchTo(ctx, conn, method, path, proto)
	if err != nil {
		conn.Close()
		return nil, c.wrap(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(apiError(resp), conn.Close())
	}
	return bc, nil
}
