package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
)

// A Machine is what a server answers for.
type Machine interface {
	Status() Status
	// Stop asks the machine to end and returns at once.
	Stop(why string)
	// Follow calls f for each event from the first on, in order, until the
	// machine has exited, f fails or ctx ends. With a ctx that has ended, it
	// does so for the events that there are.
	Follow(ctx context.Context, f func(Event) error) error
	// Kill ends the machine without asking the guest and returns at once.
	Kill(why string)
	// Exec starts a command in the guest.
	Exec(ctx context.Context, e handoff.Exec) (*agent.Session, error)
	// Console is the guest's console, or nil if there is none now.
	Console() *console.Hub
	// Monitor asks QEMU for one of the [Orders].
	Monitor(ctx context.Context, o Order) error
}

// Limits of the server.
const (
	maxBody  = 64 << 10 // bytes of a request; a command line of 64 KiB is long
	maxConns = 256      // connections at once; the others wait in the kernel

	// Of them, how many may stay: those that follow events, read the console
	// or run a command. The rest is for questions, and for the end.
	maxStreams = 192

	// A loaded QEMU has been seen to take seconds over a command.
	monitorLimit = 15 * time.Second
)

// A Server answers on one socket.
type Server struct {
	l    net.Listener
	http *http.Server
	done chan error
}

// Serve starts to answer for m on the socket at path, replacing a socket that
// a dead process left there. The caller holds the machine's lock.
func Serve(path string, m Machine) (*Server, error) {
	l, err := listen(path)
	if err != nil {
		return nil, err
	}
	s := &Server{l: limit(l, maxConns), http: serverFor(m), done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(s.l) }()
	return s, nil
}

// serverFor answers for m on whatever listener it is given.
func serverFor(m Machine) *http.Server {
	h := handler{m, make(chan struct{}, maxStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", h.status)
	mux.HandleFunc("POST /v1/stop", h.stop)
	mux.HandleFunc("POST /v1/kill", h.kill)
	mux.HandleFunc("POST /v1/monitor", h.monitor)
	mux.HandleFunc("GET /v1/console", h.staying(h.console))
	mux.HandleFunc("GET /v1/events", h.staying(h.events))
	mux.HandleFunc("GET /v1/usage", h.usage)
	mux.HandleFunc("GET /v1/security", h.security)
	mux.HandleFunc("GET /metrics", h.metrics)
	mux.HandleFunc("POST /v1/exec", h.staying(h.exec))
	return &http.Server{
		Handler:     marking(whole(mux)),
		ConnContext: withConn,
		// A local client that needs longer than this to say what it wants is
		// stuck.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		// What clients do wrong is for them to know, and would be printed.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// bodyLimit is how long the body of a request may take: it comes with its headers.
const bodyLimit = 2 * time.Second

// whole lets a request be handled when all of it is there. One that announces a body
// and does not send it would keep its place for ever.
func whole(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			h.ServeHTTP(w, r)
			return
		}
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(bodyLimit)) // a recorder of a test has none
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			w.Header().Set("Connection", "close")
			status := http.StatusBadRequest
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, "read the request's body: "+err.Error(), status)
			return
		}
		_ = rc.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}

// Close stops answering. Followers are given until ctx ends to take the last
// events; the socket is removed.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

type handler struct {
	m       Machine
	streams chan struct{} // buffered maxStreams: one for each client that stays
}

// staying serves clients that stay, as many as may.
func (h handler) staying(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.streams <- struct{}{}:
			defer func() { <-h.streams }()
			f(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d clients follow this machine already, no more are served", maxStreams), http.StatusServiceUnavailable)
		}
	}
}

func (h handler) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h.m.Status())
}

// stop asks for the end and follows it, so that the caller sees each rung.
func (h handler) stop(w http.ResponseWriter, r *http.Request) {
	h.m.Stop("stop was asked for on the control socket")
	h.follow(w, r, true)
}

// kill is stop without asking the guest.
func (h handler) kill(w http.ResponseWriter, r *http.Request) {
	h.m.Kill("kill was asked for on the control socket")
	h.follow(w, r, true)
}

func (h handler) monitor(w http.ResponseWriter, r *http.Request) {
	var o Order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, "want an order as a JSON object: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), monitorLimit)
	defer cancel()
	if err := h.m.Monitor(ctx, o); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h handler) events(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("follow") == "0" {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	h.follow(w, r, false)
}

func (h handler) follow(w http.ResponseWriter, r *http.Request, onlyNew bool) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	begin := time.Now()
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	_ = rc.Flush()
	_ = h.m.Follow(r.Context(), func(e Event) error {
		if onlyNew && e.Time.Before(begin) && e.Exit == nil && e.State != Stopping {
			return nil
		}
		// A client that stopped reading is dropped, not waited for.
		_ = rc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if err := enc.Encode(e); err != nil {
			return err
		}
		return rc.Flush()
	})
}
