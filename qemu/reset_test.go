package qemu

import (
	"bufio"
	"context"
	"io"
	"testing"
)

// TestAResetKeepsQEMU: a guest that reboots, panics, or is reset at any moment
// starts over in the same process, as often as it likes, and finds nothing on its
// port that was meant for the guest before it.
func TestAResetKeepsQEMU(t *testing.T) {
	tsc := StartTSC().KHz()
	for _, typ := range []Type{MicroVM, Q35} {
		t.Run(string(typ), func(t *testing.T) {
			ctx, p, log := startBoot(t, Machine{Type: typ, TSCKHz: tsc, Agent: "agent"}, "talk")
			if err := p.QMP().KeepHalted(ctx); err != nil {
				t.Fatal(err)
			}
			if err := p.QMP().Cont(ctx); err != nil {
				t.Fatal(err)
			}
			awaitHello(t, p, "reboot\nsaid too late\n")
			awaitHalt(ctx, t, p)
			if e := p.Ending(); e.Shutdown == nil || e.Shutdown.Reason != "guest-reset" {
				t.Errorf("Ending() = %+v; want guest-reset", e)
			}
			resetTwice(ctx, t, p, typ)
			awaitHello(t, p, "said and answered\n")
			if err := p.QMP().Stop(ctx); err != nil {
				t.Fatal(err)
			}
			if err := p.Reset(ctx, nil); err != nil {
				t.Fatalf("Reset() = %v; want nil", err)
			}
			if s, err := p.QMP().QueryStatus(ctx); s.Running || err != nil {
				t.Errorf("QueryStatus() = %+v, %v; want a machine that is paused as before", s, err)
			}
			resetTwice(ctx, t, p, typ)
			awaitHello(t, p, "panic\n")
			awaitHalt(ctx, t, p)
			if e := p.Ending(); e.Panic == nil {
				t.Errorf("Ending() = %+v; want a panic", e)
			}
			if err := p.QMP().Quit(ctx); err != nil {
				t.Error(err)
			}
			if err := p.Wait(ctx); err != nil {
				t.Errorf("Wait() = %v; want nil", err)
			}
			p.Close()
			<-log.done
			if t.Failed() {
				t.Log(log.text.String())
			}
		})
	}
}

// resetTwice resets the machine, and on behalf of its firmware once more.
func resetTwice(ctx context.Context, t *testing.T, p *Process, typ Type) {
	t.Helper()
	reset := func() {
		old := p.Agent()
		if err := p.Reset(ctx, nil); err != nil {
			t.Fatalf("Reset() = %v; want nil", err)
		}
		if _, err := old.Read(make([]byte, 1)); err == nil {
			t.Error("the old connection can still be read")
		}
		if e := p.Ending(); (e.Shutdown != nil || e.Panic != nil) && typ != Q35 {
			t.Errorf("after a reset Ending() = %+v; want nothing", e)
		}
	}
	reset()
	if s, err := p.QMP().QueryStatus(ctx); err != nil {
		t.Error(err)
	} else if s.Status == "paused" {
		if err := p.QMP().Cont(ctx); err != nil {
			t.Error(err)
		}
	}
	if typ == Q35 {
		awaitHalt(ctx, t, p)
		reset()
	}
}

// awaitHello waits for the guest's first word on its port, and says something.
func awaitHello(t *testing.T, p *Process, say string) {
	t.Helper()
	port := p.Agent()
	if line, err := bufio.NewReader(port).ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("the guest says %q, %v; want hello", line, err)
	}
	if _, err := io.WriteString(port, say); err != nil {
		t.Fatal(err)
	}
}

func awaitHalt(ctx context.Context, t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.Halted():
	case <-p.Done():
		t.Fatal("QEMU ended; want it to wait")
	case <-ctx.Done():
		t.Fatal("the guest hangs")
	}
}
