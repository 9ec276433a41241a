package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// ErrNotRunning is wrapped when no supervisor answers at a machine's socket.
var ErrNotRunning = errors.New("not running")

// A Client asks the supervisor behind one socket. It keeps no connection.
type Client struct {
	name string
	path string
	http *http.Client
}

// NewClient returns a client for the machine called name whose socket is at
// path.
func NewClient(name, path string) *Client {
	return &Client{name: name, path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, path)
		},
		DisableKeepAlives: true,
	}}}
}

// Status asks for the machine's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, "/v1/status", &s)
	return s, err
}

// Usage asks for what the machine uses of its host now.
func (c *Client) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	err := c.get(ctx, "/v1/usage", &u)
	return u, err
}

// get asks for an object.
func (c *Client) get(ctx context.Context, path string, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// Stop asks the machine to end, calls f for each event on the way, and returns
// the exit when it has ended.
func (c *Client) Stop(ctx context.Context, f func(Event)) (*Exit, error) {
	return c.follow(ctx, http.MethodPost, "/v1/stop", f)
}

// Kill is [Client.Stop] without asking the guest.
func (c *Client) Kill(ctx context.Context, f func(Event)) (*Exit, error) {
	return c.follow(ctx, http.MethodPost, "/v1/kill", f)
}

// Follow calls f for each event from the machine's start on, and returns the
// exit when it has ended.
func (c *Client) Follow(ctx context.Context, f func(Event)) (*Exit, error) {
	return c.follow(ctx, http.MethodGet, "/v1/events", f)
}

// Events returns what has happened since the machine's start.
func (c *Client) Events(ctx context.Context) ([]Event, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events?follow=0", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var events []Event
	for dec := json.NewDecoder(resp.Body); ; {
		var e Event
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		events = append(events, e)
	}
}

func (c *Client) follow(ctx context.Context, method, path string, f func(Event)) (*Exit, error) {
	resp, err := c.do(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("%s: its supervisor ended without a word: %w", c.name, err)
		}
		f(e)
		if e.Exit != nil {
			return e.Exit, nil
		}
	}
}

// Monitor asks QEMU for something and returns when QEMU has answered.
func (c *Client) Monitor(ctx context.Context, o Order) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/monitor", o)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do sends a request, with body as JSON unless it is nil.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://mvm"+path, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.wrap(err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, fmt.Errorf("%s: %w", c.name, apiError(resp))
	}
	return resp, nil
}

func (c *Client) wrap(err error) error {
	if refused(err) {
		return fmt.Errorf("%s: %w", c.name, ErrNotRunning)
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

func trimLine(b []byte) string { return string(bytes.TrimSpace(b)) }
