package vm

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/sdnotify"
	"github.com/mvmrun/mvm/vm/sidecar"
)

const (
	// consoleLimit is when the console's log turns over. A boot writes about
	// 30 KiB, so this is weeks of an ordinary guest.
	consoleLimit = 4 << 20

	// failedGrace is how long a guest that said it cannot boot may take to
	// power itself off.
	failedGrace = 10 * time.Second

	// maxNotes is more than there are volumes, and bounds what a hostile guest
	// can make mvm say.
	maxNotes = 32

	// helperGrace is how much later than a helper QEMU may end and still be
	// the one that ended first.
	helperGrace = 100 * time.Millisecond

	// endingGrace is the same for a QEMU that has said that it ends. It lets
	// go of its helpers first, and may be slow to follow on a busy host.
	endingGrace = 5 * time.Second

	// helperStop is how long a guest may take to power off when a helper is
	// dead. Most of one's state is on disks that still work.
	helperStop = 10 * time.Second
)

// A watcher looks after one run of QEMU. Its loop is the only one that decides
// anything; what it starts beside it only reports back.
type watcher struct {
	s        *supervisor
	begin    time.Time // what "ready after" counts from
	plan     mounts.Plan
	proc     *qemu.Process
	hub      *console.Hub
	agent    *agent.Client
	keyboard bool // Ctrl-Alt-Del can be pressed
	facts    facts

	ladder   chan []climbed         // the ladder that is being climbed, or nil
	command  chan commandResult     // the command that runs in the guest, or nil
	wg       sync.WaitGroup         // ladder and command
	cancel   context.CancelFunc     // ends the command
	exited   <-chan struct{}        // QEMU is gone
	ready    <-chan time.Time       // the guest has been given enough time
	rescueAt <-chan time.Time       // it is to be looked at, if it was not heard of
	events   <-chan agent.Event     // what the guest says of itself
	heard    bool                   // the guest has said hello
	fresh    bool                   // it was reset, and has not halted since then
	mark     atomic.Int64           // where on the console it began
	waits    atomic.Bool            // QEMU stays when the guest has ended
	released bool                   // it was let go
	overdue  <-chan time.Time       // and has not ended
	rebirth  *rebirth               // the guest is being reset, or nil
	reborn   chan error             // and was
	rescues  int                    // how often it was reset because it had not
	looks    int                    // how often it was looked at since then
	helpers  <-chan *sidecar.Helper // those that ended
	beats    chan struct{}          // QEMU answered
	started  chan error             // QEMU's answer to the order to let the guest run
	closed   <-chan struct{}        // QEMU's monitor is
	lost     <-chan time.Time       // and QEMU has not followed
	stops    <-chan struct{}        // the host's systemd asks for the end
	disks    chan qemu.BlockError   // those that fail
	failing  map[qemu.BlockError]bool

	systemd <-chan sdnotify.Message // what the guest's systemd says
}

// watch starts QEMU and looks after it until it is gone.
func (s *supervisor) watch(ctx context.Context, p program, plan mounts.Plan, h *helpers, held *held) (control.Exit, error) {
	begin := s.begin // the first time, making what the machine needs counts too
	if s.Status().Restarts > 0 {
		begin = time.Now()
	}
	log, err := console.OpenLog(s.place.ConsoleLog(), consoleLimit)
	if err != nil {
		return control.Exit{}, err
	}
	defer log.Close()
	killed := countOOM()
	proc, failed, err := s.launch(ctx, p, h)
	switch {
	case err != nil:
		return control.Exit{}, err
	case failed != nil:
		return *failed, nil
	}
	stops, unregister, err := s.register(ctx, held.machined, proc.PID())
	if err != nil {
		return control.Exit{}, errors.Join(err, proc.Close())
	}
	defer unregister()
	w := &watcher{s: s, begin: begin, plan: plan, proc: proc, keyboard: p.machine.HasKeyboard(), exited: proc.Done(), helpers: h.died, beats: make(chan struct{}), closed: proc.QMP().Done(), stops: stops, systemd: held.says()}
	s.update(func(st *control.Status) { st.QEMU = proc.PID() })

	var readers sync.WaitGroup
	if c := proc.Console(); c != nil {
		w.hub = console.NewHub(c, log)
		if s.o.Console != nil {
			readers.Go(func() { s.o.Console(w.hub) })
		}
	}
	w.agent = agent.New(proc.Agent())
	w.events = w.agent.Events()
	s.mu.Lock()
	s.agent, s.hub, s.qmp = w.agent, w.hub, proc.QMP()
	s.mu.Unlock()

	w.run(ctx)

	// QEMU is gone, so everything below ends by itself. The console comes
	// first: closing the process would cut off what is still on its way.
	if w.hub != nil {
		<-w.hub.Done()
		if err := w.hub.LogErr(); err != nil {
			s.note("the console's log is incomplete: %v", err)
		}
	}
	proc.Close()
	w.agent.Close()
	readers.Wait()
	return w.judge(h.running, killed), nil
}

// run lets the guest run, and returns when QEMU is gone and everything that was
// started here has ended.
func (w *watcher) run(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	defer w.wg.Wait()
	defer w.cancel()
	w.startTimers()
	w.s.enter(control.Booting, "QEMU %v runs as process %d", w.proc.QMP().Version(), w.proc.PID())
	w.followMemory(ctx)
	w.cont(ctx)
	w.disks = make(chan qemu.BlockError)
	w.wg.Go(func() { w.listenForDisks(ctx) })
	if w.s.o.Pulse != nil {
		w.wg.Go(func() { w.pulse(ctx) })
	}
	stop, hurry, kill := ctx.Done(), w.s.o.Hurry, w.s.kill
	for {
		select {
		case <-stop:
			stop = nil
			w.stopAsked(ctx)
		case m, ok := <-w.systemd:
			if !ok {
				w.systemd = nil
				continue
			}
			w.systemdSays(m)
		case <-w.stops:
			w.s.Stop("systemd-machined asked for it")
		case ev, ok := <-w.events:
			if !ok {
				w.agentGone()
				continue
			}
			w.guestSays(ctx, ev)
		case <-hurry:
			hurry = nil
			w.s.Kill("asked twice to stop")
		case <-kill:
			kill = nil
			w.killAsked()
		case <-w.halts():
			w.halted(ctx)
		case <-w.overdue:
			w.overdue = nil
			w.climb(w.force())
		case r := <-w.s.resets:
			w.resetAsked(ctx, r)
		case err := <-w.reborn:
			w.resetDone(ctx, err)
		case <-w.rescueAt:
			w.rescueAt = nil
			w.rescue(ctx)
		case <-w.ready:
			w.ready = nil
			w.facts.timeout = w.s.c.ReadyLimit()
			w.s.enter(control.Stopping, "the guest was not ready within %v", roughly(w.facts.timeout))
			w.climb(w.force())
		case r := <-w.command:
			w.command = nil
			w.commandEnded(r)
		case tried := <-w.ladder:
			w.ladder = nil
			w.facts.tried = tried
			w.stubborn(tried)
		case d := <-w.helpers:
			w.helperDied(d)
		case e := <-w.disks:
			w.diskFailed(e)
		case <-w.beats:
			w.s.o.Pulse()
		case err := <-w.started:
			w.contAnswered(ctx, err)
		case <-w.closed:
			w.hungUp()
		case <-w.lost:
			w.monitorLost()
		case <-w.exited:
			w.last(ctx)
			return
		}
	}
}

// last collects what was still on its way when QEMU ended.
func (w *watcher) last(ctx context.Context) {
	if w.events != nil {
		for ev := range w.events {
			w.guestSays(ctx, ev)
		}
	}
	select {
	case m, ok := <-w.systemd:
		if ok {
			w.systemdSays(m)
		}
	default:
	}
	w.cancel()
	if w.ladder != nil {
		w.facts.tried = <-w.ladder
	}
	if w.command != nil {
		w.commandEnded(<-w.command)
	}
}

// guestSays acts on what the guest says of itself.
func (w *watcher) guestSays(ctx context.Context, ev agent.Event) {
	switch {
	case ev.Hello != nil:
		w.heard = true
		w.s.update(func(st *control.Status) { st.Kernel = harmless([]byte(ev.Hello.Kernel)) })
	case ev.Failed != nil && w.facts.failed == nil:
		w.facts.failed = ev.Failed
		w.ready = nil
		w.s.enter(control.Stopping, "the guest cannot boot")
		w.climb(append([]rung{{rungSelf, failedGrace, func(context.Context) error { return nil }}}, w.force()...))
	case ev.Ready != nil && !w.facts.ready:
		w.guestReady(ctx, ev.Ready)
	case ev.Exit != nil:
		w.exitStatus(ev.Exit.Status)
	}
}

// guestReady checks what the guest mounted and starts the command, if any.
func (w *watcher) guestReady(ctx context.Context, r *handoff.Ready) {
	w.facts.ready, w.ready = true, nil
	report, err := verify(w.plan, r.MountInfo)
	w.s.update(func(st *control.Status) { st.Mounts = report })
	if err != nil {
		w.facts.mismatch = err.Error()
		w.s.enter(control.Stopping, "the guest's mounts are not those of the plan")
		w.climb(w.force())
		return
	}
	if w.ladder != nil {
		return // it is on its way out
	}
	after := time.Since(w.begin)
	w.s.update(func(st *control.Status) { st.ReadyAfter, st.GuestTimings = after, r.Timings })
	for _, n := range r.Notes[:min(len(r.Notes), maxNotes)] {
		w.s.note("guest: %s", harmless([]byte(n)))
	}
	w.s.enter(control.Ready, "ready after %.2f s", after.Seconds())
	if w.s.o.Command != nil {
		w.command = make(chan commandResult, 1)
		w.wg.Go(func() { w.command <- w.runCommand(ctx) })
	}
}

// agentGone notes that the guest's agent hung up while the guest lives.
func (w *watcher) agentGone() {
	w.events = nil
	if err := w.agent.Err(); !errors.Is(err, io.EOF) && !errors.Is(err, agent.ErrClosed) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
		w.facts.agentErr = err
		w.s.note("the guest's agent is not heard any more: %v", err)
	}
}

// helperDied ends the machine: a guest whose share is gone hangs on it sooner or
// later, and says nothing. A helper also ends when QEMU does, so QEMU is given a
// moment to turn out to be the first.
func (w *watcher) helperDied(h *sidecar.Helper) {
	grace := helperGrace
	if w.proc.Ending().Shutdown != nil {
		grace = endingGrace
	}
	select {
	case <-w.exited:
		return
	case <-time.After(grace):
	}
	if w.facts.helperErr == nil {
		w.facts.helperErr = h.Err()
	}
	if w.ladder != nil {
		return
	}
	w.s.enter(control.Stopping, "%v", h.Err())
	// A guest that syncs its disks waits for a dead share for ever.
	w.climb(append(w.asking(helperStop), w.force()...))
}

// stopAsked begins to stop the machine.
func (w *watcher) stopAsked(ctx context.Context) {
	w.facts.stopWhy, w.ready = stopWhy(ctx), nil
	if w.ladder != nil {
		return
	}
	w.s.enter(control.Stopping, "%s", w.facts.stopWhy)
	if w.facts.ready {
		w.climb(w.gentle())
	} else {
		// Nothing of the guest's runs yet, so there is nothing to ask.
		w.climb(w.force())
	}
}

// killAsked forces the machine. A ladder that is being climbed sees it by
// itself.
func (w *watcher) killAsked() {
	if w.ladder != nil {
		return
	}
	w.facts.stopWhy, w.ready = w.s.killWhy, nil
	w.facts.killAsked = true
	w.s.enter(control.Stopping, "%s", w.facts.stopWhy)
	force := w.force()
	w.climb(force[len(force)-1:])
}

func (w *watcher) climb(rungs []rung) {
	if w.ladder != nil {
		return
	}
	ladder := make(chan []climbed, 1)
	w.ladder = ladder
	w.wg.Go(func() {
		ladder <- climb(context.Background(), rungs, w.exited, w.s.kill, func(r rung) {
			w.s.note("%s (within %v)", trying[r.name], roughly(r.grace))
		})
	})
}

// stubborn says what did not work. A QEMU that survives SIGKILL is stuck in the
// kernel; all that can be done is to wait for it.
func (w *watcher) stubborn(tried []climbed) {
	for _, c := range tried {
		if c.err != nil {
			w.s.note("%s: %v", trying[c.rung], c.err)
		}
	}
	select {
	case <-w.exited:
	default:
		w.s.note("QEMU, process %d, does not end even when killed; waiting for the kernel", w.proc.PID())
	}
}
