package qmpconn

import (
	"errors"
	"testing"

	"github.com/digitalocean/go-qemu/qmp/raw"
)

func TestMonitorServesGoQEMUsGeneratedCommands(t *testing.T) {
	c, s := ready(t)
	done := background(func() {
		r := s.receive()
		s.send(`{"event":"STOP","data":{"a":1},"timestamp":{"seconds":3,"microseconds":4}}`)
		s.send(`{"return":{"running":true,"singlestep":false,"status":"running"},"id":%s}`, r.ID)
		r = s.receive()
		s.send(`{"error":{"class":"GenericError","desc":"no"},"id":%s}`, r.ID)
	})
	m := Monitor{c}
	events, err := m.Events(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	st, err := raw.NewMonitor(m).QueryStatus()
	if err != nil || !st.Running || st.Status != raw.RunStateRunning {
		t.Errorf("QueryStatus() = %+v, %v; want running", st, err)
	}
	if e := <-events; e.Event != "STOP" || e.Timestamp.Seconds != 3 || e.Data["a"] != 1.0 {
		t.Errorf("event = %+v; want STOP", e)
	}
	var ce *CommandError
	if err := raw.NewMonitor(m).SystemPowerdown(); !errors.As(err, &ce) || ce.Desc != "no" {
		t.Errorf("SystemPowerdown() = %v; want the refusal", err)
	}
	<-done
	if err := m.Disconnect(); err != nil {
		t.Error(err)
	}
	if err := m.Connect(); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect() = %v; want ErrClosed", err)
	}
	if _, ok := <-events; ok {
		t.Error("the events go on after the end")
	}
}
