package storedisk

import (
	"context"
	"fmt"
	"os"
	"time"
)

// A job is one image being made.
type job struct {
	cache   *Cache
	closure *Closure
	opts    Options
	key     key
	stamp   string // of the closure's sources
	path    string // where the image goes
	temp    string // where it is made: beside path
	packed  bool   // an erofs image is to have no holes

	unmarked bool     // the image was found, and is to be marked as [record.Unnamed]
	lock     *os.File // held by whoever writes to temp
}

// newJob checks options and closure.
func newJob(ctx context.Context, c *Cache, cl *Closure, o Options) (*job, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	stamp, err := cl.stamp(ctx)
	if err != nil {
		return nil, err
	}
	return &job{cache: c, closure: cl, opts: o, key: newKey(cl, &o), stamp: stamp}, nil
}

// A product is what a format made.
type product struct {
	packed bool
	index  []byte // for the next update, or nil
	origin Origin
}

// begin waits until j may write to its temporary file. The caller must call
// unlock, after which that file is gone.
func (j *job) begin(ctx context.Context) (unlock func(), err error) {
	lock, err := lockFile(ctx, hidden(j.path, lockSuffix), func(pid int) {
		j.cache.log().Info("waiting for another builder of the same store disk", "pid", pid, "file", j.path)
		j.cache.report(Progress{Stage: "waiting", Paths: len(j.closure.Names), Owner: pid})
	})
	if err != nil {
		return nil, err
	}
	j.lock, j.temp = lock.f, hidden(j.path, tempSuffix)
	// What is there now is a dead builder's: the lock says so.
	if err := removeIfThere(j.temp); err != nil {
		lock.unlock()
		return nil, err
	}
	return func() {
		os.Remove(j.temp) // unless it has its name
		lock.unlock()
	}, nil
}

// produce makes the image and puts it in its place in the cache. The caller has
// begun.
func (j *job) produce(ctx context.Context) (*Image, error) {
	start := time.Now()
	j.cache.log().Info("making store disk", "type", j.key.typ, "paths", len(j.closure.Names), "file", j.path)
	made, err := j.makeSound(ctx)
	if err != nil {
		return nil, err
	}
	return j.commit(made, time.Since(start))
}

// makeSound writes the image to j.temp and sees to it that its sources did not
// change meanwhile: half of one state and half of another is no store.
func (j *job) makeSound(ctx context.Context) (product, error) {
	made, err := j.make(ctx)
	if err != nil {
		return made, err
	}
	stamp, err := j.closure.stamp(ctx)
	if err == nil && stamp != j.stamp {
		err = fmt.Errorf("the closure in %s changed while it was read", j.closure.StoreDir)
	}
	return made, err
}

// make writes the image to j.temp.
func (j *job) make(ctx context.Context) (product, error) {
	switch j.key.typ {
	case Squashfs:
		return product{origin: Built}, j.makeSquashfs(ctx)
	case Ext4:
		return product{origin: Built}, j.makeExt4(ctx)
	case Btrfs:
		return product{origin: Built}, j.makeBtrfs(ctx)
	}
	if comp, _ := j.opts.compression(); comp.Algorithm != "" || len(j.opts.ErofsFlags) > 0 {
		return product{origin: Built, packed: true}, j.makeCompressedErofs(ctx)
	}
	return j.makeErofs(ctx)
}

// commit gives the image its name, and its record when it has it. Until then no
// other process takes it for an image.
func (j *job) commit(made product, took time.Duration) (*Image, error) {
	// The lease begins before the name: nobody is to edit the image between.
	f, err := os.Open(j.temp)
	if err != nil {
		return nil, err
	}
	r, err := j.install(f, made)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.Took = took
	if err := r.write(j.path); err != nil {
		f.Close()
		return nil, err
	}
	j.cache.log().Info("store disk is ready", "file", j.path, "how", made.origin, "took", took.Round(time.Millisecond))
	return newImage(f, j.path, r, made.origin)
}

func (j *job) install(f *os.File, made product) (*record, error) {
	if err := f.Chmod(0o644); err != nil {
		return nil, err
	}
	if err := share(f); err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for _, suffix := range []string{recordSuffix, indexSuffix} {
		if err := removeIfThere(j.path + suffix); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(j.temp, j.path); err != nil {
		return nil, err
	}
	if made.index != nil {
		if err := replaceFile(j.path+indexSuffix, made.index); err != nil {
			return nil, err
		}
	}
	r := j.newRecord(made)
	r.Apparent, r.ModTime = fi.Size(), fi.ModTime()
	return r, nil
}

func (j *job) newRecord(made product) *record {
	r := &record{
		Version: recordVersion, Digest: j.key.digest(), Type: j.key.typ,
		Boot: bootID(), Stamp: j.stamp, StoreDir: j.closure.StoreDir,
		Paths: len(j.closure.Names), Packed: made.packed, Unnamed: j.opts.For == "",
	}
	if j.key.typ != Squashfs {
		r.UUID = uuidString(j.key.uuid())
	}
	return r
}

// progress reports how many bytes of a stage are done.
func (j *job) progress(stage string, done, total int64) {
	j.cache.report(Progress{Stage: stage, Done: done, Total: total, Paths: len(j.closure.Names)})
}
