package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMountsIsWhatTheReferenceYields runs "mvm mounts --format nix-json" on the
// definitions that package mounts is tested with, and compares with what the
// reference's Nix code made of them. The wanted difference is tolerated: a disk
// that the reference calls by letter has its serial here.
func TestMountsIsWhatTheReferenceYields(t *testing.T) {
	files, err := filepath.Glob("../../mounts/testdata/conformance/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("Glob() = %v, %v; want the conformance data", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			definition, err := json.Marshal(want["definition"])
			if err != nil {
				t.Fatal(err)
			}
			delete(want, "definition")

			machine := filepath.Join(t.TempDir(), "myvm.json")
			if err := os.WriteFile(machine, definition, 0o644); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			e := env{stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
			if code := run(t.Context(), []string{"mounts", machine, "--format", "nix-json"}, e); code != 0 {
				t.Fatalf("mvm mounts = %d; want 0\n%s", code, stderr.String())
			}
			var got map[string]any
			if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			withoutLetters(want, got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("mvm mounts differs from the reference (-want +got):\n%s", diff)
			}
		})
	}
}

var (
	letter = regexp.MustCompile(`^/dev/vd[a-z]+$`)
	serial = regexp.MustCompile(`^/dev/disk/by-id/virtio-.+$`)
)

// withoutLetters gives the disks that want calls by letter the names that got has
// for them, if those are names by serial.
func withoutLetters(want, got map[string]any) {
	mine, _ := got["fileSystems"].(map[string]any)
	theirs, _ := want["fileSystems"].(map[string]any)
	for where, fs := range theirs {
		their, _ := fs.(map[string]any)
		my, _ := mine[where].(map[string]any)
		old, _ := their["device"].(string)
		name, _ := my["device"].(string)
		if letter.MatchString(old) && serial.MatchString(name) {
			their["device"] = name
		}
	}
}
