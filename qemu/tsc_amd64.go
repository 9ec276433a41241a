package qemu

// rdtsc returns the time stamp counter, after all earlier instructions.
func rdtsc() uint64
