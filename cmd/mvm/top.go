package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mvmrun/mvm/vm/control"
)

func newTop(e env) *cobra.Command {
	var times int
	every := 2 * time.Second
	cmd := &cobra.Command{
		Use:     "top",
		GroupID: "life",
		Short:   "Show what the machines that run use",
		Long: `Top shows each machine that runs: its state, how long it has run, the processor time
that QEMU uses (100% is one processor), the memory of QEMU that is in RAM beside what
the guest has, and what the guest reads from and writes to its disks each second. A
guest's I/O on shares is not its disks'.

On a terminal the screen is kept up to date; q leaves it. Elsewhere, and with -n,
what is shown is printed.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usageError{fmt.Errorf("--delay %v: want at least 100ms", every)}
			}
			m := &meter{e: e, last: make(map[string]reading)}
			if times == 0 && e.onTerminal() {
				return m.screen(cmd.Context(), every)
			}
			return m.print(cmd.Context(), cmd.OutOrStdout(), max(times, 1), every)
		},
	}
	cmd.Flags().IntVarP(&times, "times", "n", 0, "print so many times instead of showing a screen")
	cmd.Flags().DurationVarP(&every, "delay", "d", every, "the time between two looks")
	return cmd
}

// A reading is a machine at a moment.
type reading struct {
	at          time.Time
	pid         int // of QEMU: another one begins to count at nothing
	cpu         time.Duration
	read, write int64
}

// A meter reads all machines and knows what they had used before.
type meter struct {
	e    env
	last map[string]reading
}

// A row is what top shows of one machine. A rate is -1 until two readings tell.
type row struct {
	status       control.Status
	usage        control.Usage
	known        bool // usage is
	cpu          float64
	reads, write float64 // bytes a second
}

// look reads all machines.
func (m *meter) look(ctx context.Context) ([]row, error) {
	list, err := m.e.running(ctx)
	if err != nil {
		return nil, err
	}
	dirs, err := m.e.dirs()
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(list))
	readings := make([]reading, len(list))
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askFor)
			defer cancel()
			u, err := control.NewClient(list[i].Name, dirs.Machine(list[i].Name).Socket()).Usage(ctx)
			rows[i] = row{status: list[i], usage: u, known: err == nil, cpu: -1, reads: -1, write: -1}
			readings[i] = newReading(&list[i], &u)
		})
	}
	wg.Wait()
	now := make(map[string]reading, len(list))
	for i := range rows {
		name := list[i].Name
		rows[i].rates(m.last[name], readings[i])
		now[name] = readings[i]
	}
	m.last = now
	return rows, nil
}

func newReading(s *control.Status, u *control.Usage) reading {
	r := reading{at: time.Now(), pid: s.QEMU}
	if u.QEMU != nil {
		r.cpu = u.QEMU.CPU
	}
	for i := range u.Disks {
		r.read += u.Disks[i].ReadBytes
		r.write += u.Disks[i].WrittenBytes
	}
	return r
}

func (r *row) rates(before, now reading) {
	took := now.at.Sub(before.at).Seconds()
	if !r.known || r.usage.QEMU == nil || before.pid != now.pid || before.pid == 0 || took <= 0 {
		return
	}
	r.cpu = max((now.cpu-before.cpu).Seconds()/took*100, 0)
	if r.usage.Answers {
		r.reads = max(float64(now.read-before.read)/took, 0)
		r.write = max(float64(now.write-before.write)/took, 0)
	}
}

// table is the rows, a header first.
func table(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tUPTIME\tCPU\tMEMORY\tREAD/S\tWRITE/S\tRESTARTS")
	for _, r := range rows {
		memory := "-"
		if r.known && r.usage.QEMU != nil {
			given := int64(r.status.MemMiB)
			if r.usage.Balloon > 0 {
				given = r.usage.Balloon >> 20
			}
			if p := r.status.PluggedMiB; p != nil {
				given += int64(*p)
			}
			memory = fmt.Sprintf("%d of %d MiB", r.usage.QEMU.Resident>>20, given)
		}
		cpu := "-"
		if r.cpu >= 0 {
			cpu = fmt.Sprintf("%.0f%%", r.cpu)
		}
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%s\t%s\t%s\t%d\n", r.status.Name, r.status.State,
			time.Since(r.status.Started).Round(time.Second), cpu, memory, perSecond(r.reads), perSecond(r.write), r.status.Restarts)
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}

func perSecond(bytes float64) string {
	switch {
	case bytes < 0:
		return "-"
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB", bytes/1e6)
	case bytes >= 1e3:
		return fmt.Sprintf("%.1f kB", bytes/1e3)
	}
	return fmt.Sprintf("%.0f B", bytes)
}

// print prints so many tables. The first needs two looks, for rates.
func (m *meter) print(ctx context.Context, w io.Writer, times int, every time.Duration) error {
	rows, err := m.look(ctx)
	if err != nil {
		return err
	}
	wait := min(every, time.Second)
	for i := range times {
		if len(rows) > 0 || i > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if rows, err = m.look(ctx); err != nil {
				return err
			}
		}
		wait = every
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+table(rows)); err != nil {
			return err
		}
	}
	return nil
}

// Of a terminal that knows ANSI: the other screen without a cursor and back, and
// to the top left corner.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// screen shows tables until somebody presses q or Ctrl-C.
func (m *meter) screen(ctx context.Context, every time.Duration) error {
	fd, _ := terminal(m.e.stdin)
	saved, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	// What is said of machines would be written into the screen.
	var said bytes.Buffer
	stderr := m.e.stderr
	m.e.stderr = &said
	fmt.Fprint(m.e.stdout, enterScreen)
	defer func() {
		fmt.Fprint(m.e.stdout, leaveScreen)
		_ = term.Restore(fd, saved)
		_, _ = stderr.Write(said.Bytes())
	}()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	resized := make(chan os.Signal, 1) // one is enough
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	in := interruptible(m.e.stdin)
	keys := make(chan byte)
	done := make(chan struct{})
	go func() { // ends with in
		defer close(done)
		readKeys(ctx, in, keys)
	}()
	defer func() {
		stop()
		in.Close()
		<-done
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	wait := time.After(min(every, time.Second/2)) // the first rates come sooner
	rows, err := m.look(ctx)
	for {
		if err != nil {
			return err
		}
		m.draw(rows, fd, every)
		select {
		case <-ctx.Done():
			return nil
		case k, ok := <-keys:
			if !ok || k == 'q' || k == 'Q' || k == 3 || k == 4 {
				return nil
			}
		case <-resized:
		case <-wait:
			rows, err = m.look(ctx)
		case <-tick.C:
			rows, err = m.look(ctx)
		}
		if errors.Is(err, context.Canceled) {
			return nil
		}
	}
}

func readKeys(ctx context.Context, in io.Reader, keys chan<- byte) {
	defer close(keys)
	var b [1]byte
	for {
		if _, err := in.Read(b[:]); err != nil {
			return
		}
		select {
		case keys <- b[0]:
		case <-ctx.Done():
			return
		}
	}
}

// draw shows rows, as many and as much of each as there is room for.
func (m *meter) draw(rows []row, fd int, every time.Duration) {
	cols, lines, err := term.GetSize(fd)
	if err != nil || cols <= 0 || lines <= 0 {
		cols, lines = 80, 24
	}
	head := fmt.Sprintf("mvm top: %d machines, every %v; q leaves", len(rows), every)
	if len(rows) == 1 {
		head = fmt.Sprintf("mvm top: 1 machine, every %v; q leaves", every)
	}
	text := []string{head, ""}
	text = append(text, strings.Split(strings.TrimSuffix(table(rows), "\n"), "\n")...)
	if n := len(text) - lines; n > 0 {
		text = append(text[:lines-1], fmt.Sprintf("and %d more", n+1))
	}
	var b strings.Builder
	b.WriteString(homeCursor)
	for i, l := range text {
		if len(l) > cols {
			l = l[:cols]
		}
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l + clearLine)
	}
	b.WriteString(clearBelow)
	fmt.Fprint(m.e.stdout, b.String())
}
