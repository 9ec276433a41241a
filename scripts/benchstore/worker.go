package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"time"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/storedisk/erofs"
)

// workerArg makes this program a worker, which makes one image as "mvm run"
// does: in a cache, without syncing it, since the guest need not wait for that.
const workerArg = "worker"

// A report is what a worker says of its work.
type report struct {
	Took   time.Duration    `json:"took"` // without the start of the process
	Origin storedisk.Origin `json:"origin"`
	Path   string           `json:"path"`
}

func workerCommand(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = "/proc/self/exe"
	}
	return exec.Command(self, append([]string{workerArg}, args...)...)
}

// work makes an image in the cache that is the only argument.
func work(args []string) error {
	fl := flag.NewFlagSet(workerArg, flag.ExitOnError)
	list := fl.String("list", "", "the file that lists the closure")
	store := fl.String("store", "", "the directory that holds it")
	typ := fl.String("type", "", "a type of disk, or packed for an erofs image outside a cache")
	compression := fl.String("compression", "", "")
	who := fl.String("for", "", "who wants it")
	_ = fl.Parse(args) // it exits
	f, err := os.Open(*list)
	if err != nil {
		return err
	}
	defer f.Close()
	start := time.Now()
	cl, err := storedisk.ReadList(bufio.NewReader(f), *store)
	if err != nil {
		return err
	}
	if *typ == "packed" {
		return pack(cl, fl.Arg(0))
	}
	cache := &storedisk.Cache{Dir: fl.Arg(0)}
	img, err := cache.Build(context.Background(), cl, storedisk.Options{Type: storedisk.Type(*typ), Compression: *compression, For: *who})
	if err != nil {
		return err
	}
	r := report{Took: time.Since(start), Origin: img.Origin, Path: img.Path}
	if err := img.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// pack is what Cache.Create does, but for syncing the file.
func pack(cl *storedisk.Closure, out string) error {
	f, err := os.OpenFile(out, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	paths := make([]erofs.Path, len(cl.Names))
	for i, name := range cl.Names {
		paths[i] = erofs.Path{Name: name, Source: cl.Path(name)}
	}
	_, err = erofs.Build(context.Background(), f, paths, erofs.Options{Label: storedisk.Label, Layout: erofs.Packed})
	return err
}
