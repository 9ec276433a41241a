package erofs

import "os"

// stageSize is how much data is gathered for one write. It is a multiple of
// the block size.
const stageSize = 1 << 20

// A stage gathers blocks that follow each other in the image, and writes them
// with few calls.
type stage struct {
	f   *os.File
	buf []byte // stageSize bytes
	n   int    // bytes gathered in buf
	off int64  // of buf[0] in the image
}

func newStage(f *os.File) stage { return stage{f: f, buf: make([]byte, stageSize)} }

// seek makes off, where a block starts, the place of the next byte.
func (s *stage) seek(off int64) error {
	if s.off+int64(s.n) == off {
		return nil
	}
	err := s.flush()
	s.off = off
	return err
}

// room returns the free part of the buffer: at least want bytes, of which
// there are at most stageSize.
func (s *stage) room(want int) ([]byte, error) {
	if len(s.buf)-s.n < want {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	return s.buf[s.n:], nil
}

// write adds b.
func (s *stage) write(b []byte) error {
	for len(b) > 0 {
		room, err := s.room(1)
		if err != nil {
			return err
		}
		n := copy(room, b)
		s.n += n
		b = b[n:]
	}
	return nil
}

// pad fills the last block up with zeros. It needs no room: the buffer ends
// where a block ends.
func (s *stage) pad() {
	end := (s.n + blockSize - 1) &^ (blockSize - 1)
	clear(s.buf[s.n:end])
	s.n = end
}

// flush writes what was gathered.
func (s *stage) flush() error {
	if s.n == 0 {
		return nil
	}
	_, err := s.f.WriteAt(s.buf[:s.n], s.off)
	s.off += int64(s.n)
	s.n = 0
	return err
}
