package kernel

import (
	"debug/elf"
	"fmt"
	"io"
)

// pvhNote is the type of the ELF note, by the owner "Xen", that holds the
// address to enter a PVH guest at (XEN_ELFNOTE_PHYS32_ENTRY, Xen's elfnote.h).
const pvhNote = 18

// checkPVH returns nil if QEMU can boot the ELF file by its PVH entry point.
func checkPVH(image io.ReaderAt) error {
	f, err := elf.NewFile(image)
	if err != nil {
		return fmt.Errorf("not an ELF file: %w", ErrUnsupported)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("an ELF file for %v: %w", f.Machine, ErrUnsupported)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		// Real ones have a few hundred bytes.
		notes, err := io.ReadAll(io.LimitReader(p.Open(), 64<<10))
		if err == nil && hasNote(f, notes) {
			return nil
		}
	}
	return fmt.Errorf("a kernel without a PVH entry point: %w", ErrUnsupported)
}

func hasNote(f *elf.File, notes []byte) bool {
	const header = 12
	for len(notes) >= header {
		nameSize := uint64(f.ByteOrder.Uint32(notes))
		descSize := uint64(f.ByteOrder.Uint32(notes[4:]))
		kind := f.ByteOrder.Uint32(notes[8:])
		desc := header + align4(nameSize)
		if desc+descSize > uint64(len(notes)) {
			return false
		}
		if kind == pvhNote && string(notes[header:header+nameSize]) == "Xen\x00" {
			return true
		}
		notes = notes[min(desc+align4(descSize), uint64(len(notes))):]
	}
	return false
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }
