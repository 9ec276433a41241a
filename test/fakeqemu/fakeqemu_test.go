package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
)

func TestMain(m *testing.M) {
	if os.Getenv("FAKEQEMU_SCRIPT") != "" {
		main()
	}
	os.Exit(m.Run())
}

// start starts this test's own program as the fake QEMU.
func start(t *testing.T, script string) *qemu.Process {
	t.Helper()
	p, err := qemu.Start(t.Context(), qemu.Machine{Console: true, Agent: handoff.PortName}, qemu.StartOptions{
		Binary: os.Args[0], Env: append(os.Environ(), "FAKEQEMU_SCRIPT="+script),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.QMP().Cont(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAReadyAgentPowersOffWhenTold(t *testing.T) {
	info := t.TempDir() + "/mountinfo"
	if err := os.WriteFile(info, []byte("mounts"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "agent ready "+info)
	for _, want := range []handoff.Kind{handoff.KindHello, handoff.KindReady} {
		f, err := handoff.ReadFrame(p.Agent())
		if err != nil || f.Kind != want {
			t.Fatalf("frame %d, %v; want %d", f.Kind, err, want)
		}
		if r := (handoff.Ready{}); want == handoff.KindReady && (f.Decode(&r) != nil || r.MountInfo != "mounts") {
			t.Errorf("ready = %s; want the mounts", f.Payload)
		}
	}
	f, err := handoff.JSON(handoff.KindPoweroff, 0, handoff.Poweroff{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Agent().Write(handoff.AppendFrame(nil, f)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("Wait() = %v; want nil", err)
	}
	if e := p.Ending(); e.Shutdown == nil || e.Shutdown.Reason != "guest-shutdown" {
		t.Errorf("Ending() = %+v; want guest-shutdown", e)
	}
}

func TestAGarbledAgentBreaksTheProtocol(t *testing.T) {
	p := start(t, "agent garbage")
	if _, err := handoff.ReadFrame(p.Agent()); err == nil {
		t.Error("ReadFrame() = nil; want an error")
	}
}

func TestScriptsAreChecked(t *testing.T) {
	tests := []struct{ script, err string }{
		{"", "<nil>"},
		{"# nothing\n\n; greeting none # why\non quit silence; on quit exit 3", "<nil>"},
		{"greeting hi", `"greeting hi": "hi"; want one of ["none" "garbage" "cut" "early-event"]`},
		{"dance", `"dance": unknown directive "dance"`},
		{"on quit dance", `"on quit dance": unknown action "dance"`},
		{"on quit exit soon", `"on quit exit soon": strconv.Atoi: parsing "soon": invalid syntax`},
	}
	for _, tt := range tests {
		if _, err := parseScript(tt.script); fmt.Sprint(err) != tt.err {
			t.Errorf("parseScript(%q) = %v; want %s", tt.script, err, tt.err)
		}
	}
}
