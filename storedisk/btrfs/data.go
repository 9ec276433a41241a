package btrfs

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// bufferSize is how much of a file is read at once: a multiple of the sector
// size that keeps system calls few and memory small.
const bufferSize = 1 << 20

// A copier copies the content of files into the image.
type copier struct {
	w        io.WriterAt
	sums     []uint32 // of each sector from dataAt on
	done     atomic.Int64
	mu       sync.Mutex // serialises progress
	total    int64
	progress func(done, total int64)
}

// copyAll copies the files that have extents, several at once.
func (c *copier) copyAll(ctx context.Context, nodes []node, jobs int) error {
	g, ctx := errgroup.WithContext(ctx)
	todo := make(chan *node, jobs) // so that no reader waits for the next
	g.Go(func() error {
		defer close(todo)
		for i := range nodes {
			if len(nodes[i].extents) == 0 {
				continue
			}
			select {
			case todo <- &nodes[i]:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range jobs {
		g.Go(func() error {
			buf := make([]byte, bufferSize)
			for n := range todo {
				if err := c.copy(ctx, n, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// copy copies one file.
func (c *copier) copy(ctx context.Context, n *node, buf []byte) error {
	f, err := os.Open(n.source)
	if err != nil {
		return err
	}
	defer f.Close()
	left := n.size
	for _, e := range n.extents {
		for at := e.addr; at < e.addr+e.size && ctx.Err() == nil; {
			b := buf[:min(uint64(len(buf)), e.addr+e.size-at)]
			data := b[:min(uint64(len(b)), left)]
			if _, err := io.ReadFull(f, data); err != nil {
				return changed(n.source, err)
			}
			clear(b[len(data):]) // the last sector is padded
			if err := c.write(b, at); err != nil {
				return err
			}
			left -= uint64(len(data))
			at += uint64(len(b))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return atEnd(f)
}

func (c *copier) write(b []byte, at uint64) error {
	for i := 0; i < len(b); i += sectorSize {
		c.sums[(at-dataAt)/sectorSize+uint64(i/sectorSize)] = crc32.Checksum(b[i:i+sectorSize], castagnoli)
	}
	if _, err := c.w.WriteAt(b, int64(at)); err != nil {
		return err
	}
	done := c.done.Add(int64(len(b)))
	if c.progress != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.progress(done, c.total)
	}
	return nil
}

// readInline returns the content of a small file.
func readInline(n *node) ([]byte, error) {
	f, err := os.Open(n.source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n.size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, changed(n.source, err)
	}
	return b, atEnd(f)
}

// atEnd returns an error if f has more than was read of it.
func atEnd(f *os.File) error {
	switch n, err := f.Read(make([]byte, 1)); {
	case n > 0:
		return changed(f.Name(), errors.New("it has grown"))
	case err != io.EOF:
		return err
	}
	return nil
}

func changed(source string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it has shrunk")
	}
	return fmt.Errorf("%s changed while it was read: %w", source, err)
}
