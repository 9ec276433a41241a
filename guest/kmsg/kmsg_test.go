package kmsg

import "testing"

func TestParse(t *testing.T) {
	tests := []struct {
		record string
		level  int
		text   string
		ok     bool
	}{
		{"6,339,5140900,-;NET: Registered\n", 6, "NET: Registered", true},
		{"30,340,5690716,-;udevd[80]: starting\n SUBSYSTEM=x\n", 6, "udevd[80]: starting", true},
		{"3,1,2,-;erofs: (device vda): mounted; really\n", 3, "erofs: (device vda): mounted; really", true},
		{"x,1,2,-;text\n", 0, "", false},
		{"no semicolon\n", 0, "", false},
		{"", 0, "", false},
	}
	for _, tt := range tests {
		level, text, ok := parse([]byte(tt.record))
		if level != tt.level || text != tt.text || ok != tt.ok {
			t.Errorf("parse(%q) = %d, %q, %v; want %d, %q, %v", tt.record, level, text, ok, tt.level, tt.text, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n KEY=value\n"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if level, _, _ := parse(record); level < 0 || level > 7 {
			t.Errorf("parse(%q) has level %d", record, level)
		}
	})
}
