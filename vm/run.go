package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// Run runs a machine until it ends, and returns how it ended. When ctx ends the
// machine is stopped, gently first; Run returns when nothing is left of it.
//
// The error is for a machine that never ran: a definition, a host or another
// process stands in its way. It is a [*state.RunningError] when the machine
// runs already. What could not be taken back after the end is an error too,
// beside the exit.
func Run(ctx context.Context, c *Config, o Options) (*control.Exit, error) {
	place := o.Dirs.Machine(c.MachineName())
	if err := place.Make(); err != nil {
		return nil, err
	}
	lock, err := place.Lock()
	if err != nil {
		return nil, err
	}
	var undo undoList
	undo.add("release the machine's lock", lock.Release)

	ctx, cancel := context.WithCancelCause(ctx)
	s := &supervisor{c: c, o: o, place: place, begin: time.Now(), journal: newJournal(), cancel: cancel, kill: make(chan struct{}), resets: make(chan *rebirth), restarts: newRestarter(c)}
	defer cancel(nil)
	if o.Asked != nil {
		asked := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { o.Asked(); close(asked) })
		defer func() {
			if !stop() {
				<-asked
			}
		}()
	}
	exit, err := s.live(ctx, &undo)
	return exit, errors.Join(err, undo.run())
}

// live is the machine's life within its lock.
func (s *supervisor) live(ctx context.Context, undo *undoList) (*control.Exit, error) {
	if err := s.moveIn(undo); err != nil {
		return nil, err
	}
	server, err := control.Serve(s.place.Socket(), s)
	if err != nil {
		return nil, err
	}
	if s.o.Serving != nil {
		s.o.Serving()
	}
	exit, err := s.boot(ctx)
	if err != nil {
		exit = control.Exit{Reason: control.NotStarted, Detail: err.Error()}
		if why := stopWhy(ctx); why != "" && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
			exit = control.Exit{Reason: control.Stopped}
			err = nil
		}
	}
	s.end(exit)
	// Followers get the last event; one that does not take it is left.
	closeCtx, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if cerr := server.Close(closeCtx); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close the control socket: %w", cerr))
	}
	if err != nil {
		return nil, err
	}
	return &exit, nil
}

// moveIn makes the run-time directory this process's own. What a supervisor
// that was killed left there is removed: the lock says that it is dead.
func (s *supervisor) moveIn(undo *undoList) error {
	if err := s.place.RemoveRuntime(); err != nil {
		return err
	}
	if err := s.place.Make(); err != nil {
		return err
	}
	undo.add("remove the run-time directory", s.place.RemoveRuntime)
	// What is said of the last end must not be said of this one, should this
	// process be killed.
	for _, last := range []string{s.place.LastExit(), s.place.Events()} {
		if err := os.Remove(last); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	id, err := state.Self()
	if err != nil {
		return err
	}
	if err := s.place.WriteIdentity(id); err != nil {
		return err
	}
	s.update(func(st *control.Status) {
		*st = control.Status{
			Name: s.c.MachineName(), State: control.Building, PID: id.PID, Started: s.begin,
			VCPU: s.c.VCPUs(), MemMiB: s.c.MemMiB(), Definition: s.c.File(),
		}
	})
	return nil
}

// end says how the machine ended, to followers and to the next boot.
func (s *supervisor) end(exit control.Exit) {
	exit.Definition, exit.Ended = s.c.File(), time.Now().Round(0)
	s.update(func(st *control.Status) { st.State, st.QEMU, st.Exit = control.Exited, 0, &exit })
	if b, err := json.MarshalIndent(exit, "", "  "); err == nil {
		if err := state.WriteFile(s.place.LastExit(), append(b, '\n')); err != nil {
			s.note("the exit could not be recorded: %v", err)
		}
	}
	s.say(control.Event{State: control.Exited, Message: exitMessage(&exit), Exit: &exit})
	_ = state.WriteFile(s.place.Events(), s.journal.lines()) // nobody is left to be told
}

func exitMessage(e *control.Exit) string {
	m := string(e.Reason)
	if e.Status != nil {
		m += fmt.Sprintf(", status %d", *e.Status)
	}
	if e.Detail != "" {
		m += ": " + e.Detail
	}
	return m
}

// boot makes what the machine needs, starts it, and watches it to its end.
func (s *supervisor) boot(ctx context.Context) (control.Exit, error) {
	tsc := qemu.StartTSC()
	var none control.Exit
	img, err := s.c.Resolve()
	if err != nil {
		return none, err
	}
	binary, err := qemu.Find(s.c.QEMUBinary(), qemu.Type(s.c.MachineType(cmp.Or(img.Arch, runtime.GOARCH))))
	if err != nil {
		return none, err
	}
	disk, err := s.storeDisk(ctx)
	if err != nil {
		return none, err
	}
	if disk != nil {
		defer disk.Close()
	}

	s.enter(control.Starting, "store disk %s", diskMessage(disk))
	host, why, err := DetectHost(ctx, s.c, img, s.place)
	if err != nil {
		return none, err
	}
	cred, note, err := s.c.credential(host.Accel)
	if err != nil {
		return none, err
	}
	if err := s.c.checkGraphics(cred, s.o.Desktop); err != nil {
		return none, err
	}
	if note != "" {
		s.note("%s", note)
	}
	if host.Accel == qemu.TCG {
		s.unpackKernel(ctx, &img)
		host.TSCKHz = tsc.KHz()
	}
	held, err := s.hold(ctx, &host, cred)
	if err != nil {
		return none, err
	}
	defer func() {
		if err := held.release(); err != nil {
			s.note("%v", err)
		}
	}()
	machine, plan, err := Plan(s.c, img, host)
	if err != nil {
		return none, err
	}
	if err := s.checkQEMU(ctx, binary, &machine); err != nil {
		return none, err
	}
	if err := machine.CheckHugePages(); err != nil {
		return none, err
	}
	// As in microvm.nix it comes before the volumes, which it may make.
	if err := s.preStart(ctx); err != nil {
		return none, err
	}
	if held.volumes, err = s.openVolumes(ctx, binary, cred); err != nil {
		return none, err
	}
	registration := ""
	if disk != nil {
		registration = disk.Registration
	}
	if err := s.makeInitrd(ctx, img, &machine, plan, registration); err != nil {
		return none, err
	}
	s.update(func(st *control.Status) {
		st.Accel, st.VSockCID = string(host.Accel), vsockCID(&machine)
		s.programs = programsOf(img.Init[0])
	})
	if why != "" {
		s.note("%s", why)
	}
	if s.c.leavesProtocolOpen() && host.Virtiofsd == nil {
		s.note("shares go by 9p, which is slower: there is no virtiofsd on this host")
	}
	s.notePasst(host)
	nets, err := s.bringUp(ctx, &machine)
	if err != nil {
		return none, err
	}
	defer func() {
		if err := nets.down(); err != nil {
			s.note("%v", err)
		}
	}()
	var monitor *os.File
	if s.c.hasSocket() {
		f, remove, err := s.listenQMP()
		if err != nil {
			return none, err
		}
		defer func() {
			if err := remove(); err != nil {
				s.note("%v", err)
			}
		}()
		monitor = f
	}
	for {
		exit, err := s.once(ctx, program{binary, machine, cred, monitor}, plan, host, nets, held)
		if err != nil || !s.again(ctx, &exit) {
			return exit, err
		}
		s.update(func(st *control.Status) { st.Restarts++; st.QEMU, st.ReadyAfter, st.Mounts, st.Guest = 0, 0, nil, nil })
		s.enter(control.Starting, "%s: starting it again", exitMessage(&exit))
		if err := s.preStart(ctx); err != nil {
			return none, err
		}
	}
}

// once runs QEMU, and the helpers that live and die with it, one time. Disks,
// initrd and volumes are as they were.
func (s *supervisor) once(ctx context.Context, p program, plan mounts.Plan, host Host, nets *networks, held *held) (control.Exit, error) {
	args, err := s.scriptArgs(ctx)
	if err != nil {
		return control.Exit{}, err
	}
	p.machine.ExtraArgs = append(slices.Clip(p.machine.ExtraArgs), args...)
	h, err := s.startHelpers(ctx, host, &p.machine)
	if err != nil {
		return control.Exit{}, err
	}
	err = nets.open(h.files)
	if err == nil {
		err = held.open(h.files)
	}
	if err == nil {
		err = s.c.openCredentials(h.files)
	}
	if err != nil {
		return control.Exit{}, errors.Join(err, h.stop(ctx))
	}
	if err := openFiles(&p, h.files); err != nil {
		return control.Exit{}, errors.Join(err, h.stop(ctx))
	}
	s.mu.Lock()
	s.launched = &launched{p, h.running}
	s.mu.Unlock()
	exit, err := s.watch(ctx, p, plan, h, held)
	s.mu.Lock()
	s.launched = nil
	s.mu.Unlock()
	if herr := h.stop(ctx); herr != nil {
		s.note("%v", herr)
	}
	return exit, err
}

// storeDisk finds or makes the store disk and leaves a link to it where QEMU
// is told to look. It returns nil for a machine without one.
func (s *supervisor) storeDisk(ctx context.Context) (*storedisk.Image, error) {
	if !s.c.HasStoreDisk() {
		s.enter(control.Building, "the machine has no store disk")
		return nil, nil
	}
	s.enter(control.Building, "looking for the store disk")
	cache := &storedisk.Cache{Dir: s.o.Dirs.Cache, Progress: s.o.Progress}
	closure, err := s.c.Closure(ctx, cache)
	if err != nil {
		return nil, err
	}
	// Rooted before it is read: nothing may vanish under the builder.
	if err := s.keepClosure(ctx); err != nil {
		return nil, err
	}
	o := s.c.StoreDiskOptions()
	o.For = s.place.State
	disk, err := cache.Build(ctx, closure, o)
	if err != nil {
		return nil, explainDisk(err)
	}
	link := s.place.StoreDisk()
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		disk.Close()
		return nil, err
	}
	if err := os.Symlink(disk.Path, link); err != nil {
		disk.Close()
		return nil, err
	}
	s.update(func(st *control.Status) { st.StoreDisk = disk.Path })
	return disk, nil
}

func diskMessage(d *storedisk.Image) string {
	if d == nil {
		return "not wanted"
	}
	if d.Origin == storedisk.Found {
		return "found in the cache"
	}
	return fmt.Sprintf("%s in %v", d.Origin, d.Took.Round(time.Millisecond))
}
