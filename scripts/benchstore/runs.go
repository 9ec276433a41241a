package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// Names that the wants refer to.
const (
	runNothing = "mvm run, nothing changed"
	runLittle  = "mvm run, 20 KB changed"
)

// runs are runs of one machine with the disk of a closure. Its QEMU does nothing:
// a guest would take its seconds and show nothing of the disk.
type runs struct {
	b          *bench
	dirs       state.Dirs
	definition string
	qemu       string
}

// machineName is short, as it is part of a socket's path.
const machineName = "bench"

func (b *bench) newRuns() (*runs, error) {
	dir := filepath.Join(b.dir, "run")
	r := &runs{
		b: b, qemu: filepath.Join(b.dir, "qemu"), definition: filepath.Join(b.dir, machineName+".toml"),
		dirs: state.Dirs{State: dir + "/state", Runtime: dir + "/rt", Cache: dir + "/cache"},
	}
	if err := os.WriteFile(r.qemu, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		return nil, err
	}
	_, err := r.run(1)
	return r, err
}

func (r *runs) round() error {
	for _, s := range []struct {
		name    string
		closure int
	}{{runNothing, 1}, {runNothing, 1}, {runNothing, 1}, {runLittle, 2}, {runLittle, 1}} {
		took, err := r.run(s.closure)
		if err != nil {
			return err
		}
		log.Printf("%-28s %v", s.name, took)
		kept := r.b.results.series(s.name)
		kept.wall = append(kept.wall, took)
	}
	return nil
}

// run starts the machine and returns how long it was in the state in which it
// finds out its closure and makes its disk.
func (r *runs) run(closure int) (took time.Duration, err error) {
	if err := r.define(closure); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, r.b.mvm, "run", r.definition)
	cmd.Env = append(os.Environ(), "MVM_STATE_DIR="+r.dirs.State, "MVM_RUNTIME_DIR="+r.dirs.Runtime, "MVM_CACHE_DIR="+r.dirs.Cache)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	c := control.NewClient(machineName, r.dirs.Machine(machineName).Socket())
	took, err = diskTime(ctx, c)
	if _, kerr := c.Kill(ctx, func(control.Event) {}); kerr != nil {
		cancel() // then the hard way
	}
	_ = cmd.Wait() // it has failed: that was no QEMU
	if err != nil {
		err = fmt.Errorf("mvm run: %w\n%s", err, said.Bytes())
	}
	return took, err
}

// define writes the machine's definition. Its kernel is the example guest's.
func (r *runs) define(closure int) error {
	system, err := os.Readlink(filepath.Join(r.b.closures, fmt.Sprintf("closure%d.system", closure)))
	if err != nil {
		return err
	}
	top, err := filepath.Abs("build/myvm")
	if err != nil {
		return err
	}
	text := fmt.Sprintf("toplevel = %q\nstorePaths = [%q]\nstoreDir = %q\nqemu.package = %q\n", top, system, r.b.store, r.qemu)
	return os.WriteFile(r.definition, []byte(text), 0o644)
}

// diskTime waits until the machine has its disk.
func diskTime(ctx context.Context, c *control.Client) (took time.Duration, err error) {
	for {
		if _, err = c.Status(ctx); !errors.Is(err, control.ErrNotRunning) {
			break
		}
		select { // it is moving in
		case <-ctx.Done():
			return 0, err
		case <-time.After(time.Millisecond):
		}
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	var begin, end time.Time
	_, err = c.Follow(ctx, func(e control.Event) {
		switch {
		case e.State == control.Building && begin.IsZero():
			begin = e.Time
		case e.State == control.Starting && end.IsZero():
			end = e.Time
			done()
		}
	})
	if end.IsZero() {
		return 0, errors.Join(errors.New("it made no disk"), err)
	}
	return end.Sub(begin), nil
}
