package test_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
)

// storePrelude is what the scripts below begin with. A store made by plant has
// the same content wherever it is and in whatever order it is made.
const storePrelude = `set -eu
prefix=00000000000000000000000000000000
plant() {
	dir=$1/nix/store
	shift
	mkdir -p "$dir"
	for name; do
		mkdir -p "$dir/$prefix-$name/bin"
		for i in 1 2 3; do echo "$name $i" >"$dir/$prefix-$name/bin/$name$i"; done
		ln -s "$prefix-other" "$dir/$prefix-$name/link"
	done
	chmod -R a-w "$dir"/*
	find "$dir" -mindepth 1 -exec touch -h -d @1 {} +
}
list() { for name; do echo "/nix/store/$prefix-$name"; done; }
`

// script runs a shell script on the host, in its directory, to which mvm is on
// the search path. Its output has DIR for the directory.
func script(t *testing.T, h *test.Host, text string) test.Ended {
	t.Helper()
	cmd := h.Command()
	cmd.Path, cmd.Args, cmd.Dir = "/bin/sh", []string{"sh", "-c", storePrelude + text}, h.Dir
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(test.Program)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	e := run(t, cmd)
	// What is read-only cannot be removed after the test, except by root.
	_ = filepath.WalkDir(h.Dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return err
	})
	e.Stdout = strings.ReplaceAll(e.Stdout, h.Dir, "DIR")
	e.Stderr = strings.ReplaceAll(e.Stderr, h.Dir, "DIR")
	return e
}

// TestStoreCommands are scripts whose output is all that they have to say.
func TestStoreCommands(t *testing.T) {
	tests := []struct {
		name, script string
		stdout       string // a regular expression
		stderr       string
	}{
		{
			"size names the largest path first", `
			plant a one two
			echo more >a/more && chmod u+w a/nix/store/$prefix-two && mv a/more a/nix/store/$prefix-two
			list one two | mvm store size --paths - --store-dir $PWD/a/nix/store
			list one two | mvm store size --paths - --store-dir $PWD/a/nix/store -n 1
			list one two | mvm store size --paths - --store-dir $PWD/a/nix/store --json |
				jq -r '.bytes, .files, .paths[].path'`,
			` +61 B  DIR/a/nix/store/0{32}-two\n +56 B  DIR/a/nix/store/0{32}-one\n +117 B  in 2 paths\n` +
				` +61 B  DIR/a/nix/store/0{32}-two\n +117 B  in 2 paths\n` +
				`117\n13\nDIR/a/nix/store/0{32}-two\nDIR/a/nix/store/0{32}-one\n`, "",
		}, {
			"build fills the cache once", `
			plant a one two; list one two >list
			first=$(mvm store build --paths list --store-dir $PWD/a/nix/store)
			second=$(mvm store build --paths - --store-dir $PWD/a/nix/store <list)
			[ "$first" = "$second" ] && [ -s "$first" ] && fsck.erofs "$first" >/dev/null && echo same`,
			`same\n`,
			`mvm: store: built erofs in .*, uuid [0-9a-f-]{36}\nmvm: store: found erofs in .*, uuid [0-9a-f-]{36}\n`,
		}, {
			"ls, verify and gc agree", `
			plant a one two
			for n in one two; do list $n | mvm store build --paths - --store-dir $PWD/a/nix/store 2>/dev/null; done >images
			mvm store ls | awk '{ print $1 == "DIGEST" ? "head" : $2 }'
			mvm store ls --json | jq -r '.[] | .path, .label, .inUse' | sort | uniq -c
			mvm store verify | sed 's/.*erofs  //' | uniq -c
			mvm store verify | sed 's/.*erofs  //' | uniq -c
			mvm store verify --json | jq -r '.[].fault'
			printf x | dd of="$(head -n 1 images)" bs=1 seek=1030 conv=notrunc status=none
			touch -d "$(stat -c %y "$(tail -n 1 images)")" "$(head -n 1 images)"
			mvm store verify >/dev/null || echo status $?
			mvm store gc -n >/dev/null; mvm store ls | wc -l
			mvm store gc >/dev/null; mvm store ls | wc -l; mvm store ls --json`,
			`head\nerofs\nerofs\n` +
				`( +1 DIR/\S+\.erofs\n){0}[^?]* 2 false\n +2 nix-store\n` +
				` +2 ok; its digest is recorded for the next time\n +2 ok\nnull\nnull\n` +
				`status 101\n3\n1\n\[\]\n`,
			`mvm: error: verify: 1 of 2 store disks not sound\nmvm: hint: .*\n` +
				`mvm: would remove 2 store disks, .*\nmvm: removed 2 store disks, .*\n`,
		}, {
			"all ways to name a closure name the same", `
			plant a one two; mkdir info; list two one >info/store-paths; list one >one
			s="--store-dir $PWD/a/nix/store"
			mvm store build $s --closure-info info -o 1
			list one two | mvm store build $s --paths - -o 2
			mvm store build $s --paths one --include /nix/store/$prefix-two -o 3
			plant a three; list one two three | mvm store build $s --paths - --exclude $PWD/a/nix/store/$prefix-three -o 4
			sha256sum 1 2 3 4 | cut -c 1-64 | uniq -c`,
			`DIR/1\nDIR/2\nDIR/3\nDIR/4\n +4 [0-9a-f]{64}\n`, `(mvm: store: built .*\n){4}`,
		}, {
			"export is what build -o makes, through a pipe and compressed", `
			plant a one two; list one two >list; s="--store-dir $PWD/a/nix/store --paths list"
			mvm store build $s -o built >/dev/null 2>&1
			mvm store export $s | cmp - built
			mvm store export $s -o file && cmp file built
			mvm store export $s --compress zstd >1.zst; mvm store export $s --compress zstd -o 2.zst
			cmp 1.zst 2.zst; zstd -dc 1.zst | cmp - built
			[ $(stat -c %s 1.zst) -lt $(stat -c %s built) ] && echo smaller
			mvm store export $s -t squashfs | dd bs=4 count=1 status=none`,
			`smaller\nhsqs`, "",
		}, {
			"a definition names a closure", `
			mvm store size example.toml | tail -n 1
			mvm store build example.toml
			mvm store build example.toml -t squashfs --compression lz4 -o example.squashfs
			unsquashfs -s example.squashfs | grep Compression
			mvm store export example.toml | wc -c`,
			` +[0-9.]+ MiB  in 9 paths\n\S+/cache/[0-9a-f]{40}\.erofs\nDIR/example.squashfs\nCompression lz4\n[0-9]{8}\n`,
			`mvm: store: built erofs .*\nmvm: store: built squashfs .*, uuid -\n`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			define(t, h, "example", "")
			e := script(t, h, tt.script)
			if e.Code != 0 {
				t.Errorf("the script ended with %d", e.Code)
			}
			matches(t, "standard output", e.Stdout, tt.stdout)
			matches(t, "standard error", e.Stderr, tt.stderr)
		})
	}
}

// TestStoreBuildIsReproducible: from two directories, made in another order, with
// a path that only one of them lists; and each format's own checker is content.
func TestStoreBuildIsReproducible(t *testing.T) {
	for typ, check := range map[string]string{
		"erofs":                   "fsck.erofs $f",
		"erofs --mkfs-flag=-zlz4": "fsck.erofs $f",
		"squashfs":                "unsquashfs -lln $f",
		"ext4":                    "e2fsck -f -n $f",
		"btrfs":                   "btrfs check --check-data-csum $f",
	} {
		t.Run(typ, func(t *testing.T) {
			h := host(t)
			e := script(t, h, `
			plant a one two three; plant elsewhere/b three other two one
			list one two three | mvm store build -t `+typ+` --paths - --store-dir $PWD/a/nix/store -o a.disk
			list three two one | mvm store build -t `+typ+` --paths - --store-dir $PWD/elsewhere/b/nix/store -o b.disk
			cmp a.disk b.disk && blkid -o value -s LABEL a.disk || :
			f=a.disk; `+check+` >said 2>&1 || { cat said; exit 1; }`)
			want := "DIR/a.disk\nDIR/b.disk\nnix-store\n"
			if typ == "squashfs" { // has no labels
				want = "DIR/a.disk\nDIR/b.disk\n"
			}
			if e.Code != 0 || e.Stdout != want {
				t.Errorf("%d: %s%s; want 0 and %q", e.Code, e.Stdout, e.Stderr, want)
			}
		})
	}
}

// TestStoreBuildInADerivation: without a network, root, a home or a cache, as in
// a Nix builder, every format can be made, and has the same bytes as elsewhere.
func TestStoreBuildInADerivation(t *testing.T) {
	h := host(t)
	e := script(t, h, `
	plant a one two; list one two >list; cp $(command -v mvm) mvm
	mkdir out tmp; chmod 777 out tmp
	alone="unshare -rn"
	if [ $(id -u) = 0 ]; then
		chmod 755 .. ../..
		alone="unshare -n setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all"
	fi
	for type in erofs squashfs ext4 btrfs; do
		$alone env -i PATH=$PATH HOME=/homeless-shelter TMPDIR=$PWD/tmp \
			./mvm store build -t $type --paths list --store-dir $PWD/a/nix/store -o out/$type >/dev/null
		mvm store build -t $type --paths list --store-dir $PWD/a/nix/store -o $type >/dev/null 2>&1
		cmp out/$type $type && echo $type
	done
	ls -A tmp; [ ! -e /homeless-shelter ]`)
	if want := "erofs\nsquashfs\next4\nbtrfs\n"; e.Code != 0 || e.Stdout != want {
		t.Errorf("the script = %d, %q; want 0, %q\n%s", e.Code, e.Stdout, want, e.Stderr)
	}
}

// TestStoreErrors: what is wrong is one error, or a list of all that is, and no
// file is left of it.
func TestStoreErrors(t *testing.T) {
	h := host(t)
	const dir = "--store-dir $PWD/a/nix/store "
	nobody := ""
	if os.Getuid() == 0 {
		nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
	}
	tests := []struct {
		command string
		code    int
		want    string // a regular expression for what is said
	}{
		{"mvm store build", 2, `mvm: error: give one NAME, or --closure-info DIR, or --paths FILE`},
		{"mvm store build x --paths list", 2, `mvm: error: a NAME and --closure-info or --paths: give one of them`},
		{"mvm store build nonesuch", 100, `mvm: error: "nonesuch" has no definition: .*\nmvm: hint: write nonesuch.toml, .*`},
		{"mvm store build --paths nonesuch", 101, `mvm: error: open nonesuch: no such file or directory`},
		{"mvm store build --closure-info .", 101, `mvm: error: read closure info \.: no file store-paths in it\nmvm: hint: name the output of .*`},
		{"mvm store build --paths /dev/null", 1, `mvm: error: /dev/null: closure: the closure is empty`},
		{"mvm store build --paths list --store-dir /nonesuch", 101, `mvm: error: open store /nonesuch: no such file or directory\nmvm: hint: set storeDir .*`},
		{"list gone lost | mvm store build --paths - " + dir, 101,
			`mvm: error: closure:\n  - DIR/a/nix/store/0{32}-gone: no such file or directory\n  - DIR/a/nix/store/0{32}-lost: no such file or directory`},
		{"printf '%s\\n' /nix/store/bad one $(list one one) $(list one)/bin /etc | mvm store build --paths - " + dir, 1,
			`mvm: error: closure:\n  - "bad" is no store path name: .*\n  - "one" is not an absolute path\n` +
				`  - /nix/store/0{32}-one is listed twice\n  - /nix/store/0{32}-one/bin lies inside a store path: .*\n  - /etc is not in the store .*`},
		{"mvm store build --paths list --exclude $(list gone) " + dir, 1, `mvm: error: excluded paths: .*-gone is not in the closure`},
		{"mvm store build --paths list -t xfs " + dir, 2, `mvm: error: --type "xfs": want erofs, squashfs, ext4 or btrfs`},
		{"mvm store build --paths list -t ext4 --compression lz4 " + dir, 1, `mvm: error: store disk options: compression "lz4": ext4 has none`},
		{"mvm store build --paths list --compression zstd:high " + dir, 1, `mvm: error: store disk options: compression .*level "high" is not a number`},
		{"mvm store build --paths list -o gone/out " + dir, 101, `mvm: error: open DIR/gone/\.out\.lock: no such file or directory`},
		{nobody + "./mvm store build --paths list -o shut/out " + dir, 101,
			`mvm: error: make store disk in DIR/shut: open DIR/shut/.*: permission denied\nmvm: hint: use another cache directory, .*`},
		{nobody + "env MVM_CACHE_DIR=$PWD/shut ./mvm store build --paths list " + dir, 101,
			`mvm: error: make store disk in DIR/shut: open DIR/shut/.*: permission denied\nmvm: hint: use another cache directory, .*`},
		{"mkdir -m 777 open; MVM_CACHE_DIR=$PWD/open mvm store build --paths list " + dir, 101,
			`mvm: error: use cache DIR/open: its mode .* lets everybody write to it\nmvm: hint: run chmod o-w DIR/open .*`},
		{"mvm store export --paths list --compress gzip " + dir, 2, `mvm: error: --compress "gzip": want zstd`},
		{"mvm store export --paths list -o gone/out " + dir, 101, `mvm: error: .*gone.*: no such file or directory`},
		{"mvm store gc --max-size 1X", 2, `mvm: error: --max-size "1X": want a number of bytes, or one with K, M, G or T`},
		{"mvm store verify abc", 2, `mvm: error: no store disk in \S+ begins with "abc"`},
	}
	if e := script(t, h, `plant a one; list one >list; cp $(command -v mvm) mvm; mkdir -m 555 shut; chmod 755 .. ../..`); e.Code != 0 {
		t.Fatal(e.Stderr)
	}
	const files = "find . \\( -name a -o -name open \\) -prune -o -print | sort"
	before := script(t, h, files).Stdout
	for _, tt := range tests {
		t.Run(tt.command, func(t *testing.T) {
			e := script(t, h, "chmod 555 shut\n"+tt.command)
			if e.Code != tt.code || e.Stdout != "" {
				t.Errorf("it ended with %d and printed %q; want %d and nothing", e.Code, e.Stdout, tt.code)
			}
			matches(t, "standard error", e.Stderr, tt.want+"\n?")
		})
	}
	if diff := cmp.Diff(before, script(t, h, files).Stdout); diff != "" {
		t.Errorf("the failures changed what there is (-before +after):\n%s", diff)
	}
}

func matches(t *testing.T, what, got, want string) {
	t.Helper()
	if !regexp.MustCompile(`\A(?:` + want + `)\z`).MatchString(got) {
		t.Errorf("%s:\n%s\nwant a match of:\n%s", what, got, want)
	}
}
