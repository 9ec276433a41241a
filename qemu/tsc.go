package qemu

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// A TSCMeter measures the frequency of the host's time stamp counter, which is
// what a guest under TCG reads as its own. [Machine.TSCKHz] says why the guest
// must be told.
//
// It is started early and read late, so that the time between costs nothing.
type TSCMeter struct{ start tscSample }

// meterWindow is the least time that a TSCMeter measures. Both ends are read to
// about 50 ns, so the result is right to 10 parts in a million: a second a day,
// less than what a PC's own clock loses.
const meterWindow = 10 * time.Millisecond

// StartTSC starts measuring.
func StartTSC() TSCMeter { return TSCMeter{sampleTSC()} }

// KHz returns the frequency in kHz, after waiting until 10 ms have passed since
// StartTSC. It returns 0 where the guest's counter is not the host's: on a host
// that is not x86-64.
func (m TSCMeter) KHz() int {
	if m.start.ticks == 0 {
		return 0
	}
	for {
		end := sampleTSC()
		passed := end.at - m.start.at
		if passed >= meterWindow {
			return int(math.Round(float64(end.ticks-m.start.ticks) / passed.Seconds() / 1000))
		}
		time.Sleep(meterWindow - passed)
	}
}

// A tscSample is the counter at a time of CLOCK_MONOTONIC_RAW, the clock that
// nobody adjusts.
type tscSample struct {
	at    time.Duration
	ticks uint64
}

// sampleTSC reads the clock between two readings of the counter. It tries a few
// times and returns the try that was least disturbed.
func sampleTSC() tscSample {
	var best tscSample
	narrowest := uint64(math.MaxUint64)
	for range 8 {
		var ts unix.Timespec
		before := rdtsc()
		if unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts) != nil || before == 0 {
			return tscSample{}
		}
		if width := rdtsc() - before; width < narrowest {
			narrowest = width
			best = tscSample{time.Duration(ts.Nano()), before + width/2}
		}
	}
	return best
}
