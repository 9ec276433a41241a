package qemu

import (
	"math"
	"runtime"
	"testing"
)

func TestTSCMeterAgreesWithItself(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		if got := StartTSC().KHz(); got != 0 {
			t.Errorf("KHz() = %d on %s; want 0", got, runtime.GOARCH)
		}
		return
	}
	a, b := StartTSC().KHz(), StartTSC().KHz()
	// The slowest x86-64 ever had 1 GHz, and no counter is faster than 10.
	if a < 100_000 || a > 10_000_000 {
		t.Errorf("KHz() = %d; want a plausible frequency", a)
	}
	if off := math.Abs(float64(a-b)) / float64(a); off > 1e-3 {
		t.Errorf("KHz() = %d, then %d; want the same to a thousandth", a, b)
	}
}
