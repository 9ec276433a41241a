package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestAGuestCannotPassForTheHost(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   string
	}{
		{"a plain line", []string{"hello\r\n"}, "<6>hello\n"},
		{"a level of the guest's own", []string{"<0>fire\n"}, "<6><0>fire\n"},
		{"a line in pieces", []string{"he", "llo\nwor", "ld"}, "<6>hello\n<6>world\n"},
		{"empty lines", []string{"\r\n\n  \n"}, ""},
		{"colours", []string{"\x1b[1;31mred\x1b[0m \x1b(Bplain\n"}, "<6>red plain\n"},
		{"a title", []string{"\x1b]0;title\x07text\n"}, "<6>text\n"},
		{"a title without an end", []string{"\x1b]0;title\ntext\n"}, "<6>text\n"},
		{"a sequence in pieces", []string{"a\x1b", "[3", "2mb\n"}, "<6>ab\n"},
		{"a panic", []string{"[ 1.0] Kernel panic - not syncing: why\n"}, "<2>[ 1.0] Kernel panic - not syncing: why\n"},
		{"a long line", []string{strings.Repeat("x", longestLine+1) + "\n"}, "<6>" + strings.Repeat("x", longestLine) + "\n<6>x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			j := &journal{file: f, level: consoleLevel}
			for _, text := range tt.writes {
				if n, err := io.WriteString(j, text); n != len(text) || err != nil {
					t.Errorf("Write(%q) = %d, %v; want all of it", text, n, err)
				}
			}
			flushJournal(j)
			got, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("the journal got (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMessageLevel(t *testing.T) {
	for line, want := range map[string]int{
		"mvm: myvm: ready after 1.00 s": levelInfo, "mvm: error: no": levelError,
		"mvm: warning: hm": levelWarning, "mvm: hint: do": levelNotice,
	} {
		if got := messageLevel([]byte(line)); got != want {
			t.Errorf("messageLevel(%q) = %d; want %d", line, got, want)
		}
	}
}

func TestOnlyTheJournalIsAJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		"": false, "1:2": false, fmt.Sprintf("%d:%d", st.Dev, st.Ino): true,
	} {
		if _, got := journaled(f, stream, messageLevel).(*journal); got != want {
			t.Errorf("journaled(%q) is a journal: %v; want %v", stream, got, want)
		}
	}
}
