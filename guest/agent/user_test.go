package agent

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsersAreFoundAsTheGuestKnowsThem(t *testing.T) {
	const passwd = `root:x:0:0:System administrator:/root:/bin/sh
short:x:5
alice:x:1000:100::/home/alice:/bin/sh
bob:x:1001:100::/home/bob:/none/such
big:x:99999999999:100::/:/bin/sh
`
	const group = `root:x:0:
wheel:x:1:alice,bob
users:x:100:
video:x:26:bob
odd:x:many:bob
`
	cred := func(uid, gid uint32, groups ...uint32) *syscall.Credential {
		return &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
	}
	tests := []struct {
		name string
		want user
		err  string
	}{
		{"alice", user{"alice", "/home/alice", "/bin/sh", cred(1000, 100, 1)}, ""},
		{"1000", user{"alice", "/home/alice", "/bin/sh", cred(1000, 100, 1)}, ""},
		{"bob", user{"bob", "/home/bob", "sh", cred(1001, 100, 1, 26)}, ""},
		{"4711", user{"4711", "/", "sh", cred(4711, 4711)}, ""},
		{"short", user{}, `no user "short"`},
		{"carol", user{}, `no user "carol"`},
		{"al:x", user{}, `no user "al:x"`},
		{"big", user{}, `has the numbers "99999999999" and "100"`},
	}
	for _, tt := range tests {
		got, err := findUser(tt.name, passwd, group)
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("findUser(%q) = %v; want %q", tt.name, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(user{})); diff != "" {
			t.Errorf("findUser(%q) (-want +got):\n%s", tt.name, diff)
		}
	}
	// A guest without any list has root all the same.
	got, err := findUser("root", "", "")
	if err != nil || got.home != "/root" || got.shell != "sh" || os.Getuid() == 0 && got.cred != nil {
		t.Errorf("findUser(root) in an empty guest = %+v, %v", got, err)
	}
}
