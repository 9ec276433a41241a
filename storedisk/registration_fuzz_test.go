package storedisk

import (
	"strings"
	"testing"
)

func FuzzParseRegistration(f *testing.F) {
	f.Add("/nix/store/a\nsha256:x\n1\n\n1\n/nix/store/a\n")
	f.Add("/nix/store/a\nsha256:x\n1\n\n-1\n")
	f.Add("\n\n\n\n0\n")
	f.Add("a\nb\nc\nd\n999999999999999999\n")
	f.Fuzz(func(t *testing.T, in string) {
		known, err := parseRegistration(strings.NewReader(in))
		lines := strings.Count(in, "\n") + 1
		refs := 0
		for _, p := range known {
			refs += len(p.refs)
		}
		if err == nil && refs+5*len(known) > lines {
			t.Errorf("parseRegistration(%q) found %d paths and %d references in %d lines", in, len(known), refs, lines)
		}
	})
}

func FuzzPassing(f *testing.F) {
	digest := strings.Repeat("0", 40)
	f.Add("." + digest + ".erofs.tmp")
	f.Add("." + digest + ".ext4.json.tmp")
	f.Add(digest + ".erofs")
	f.Fuzz(func(t *testing.T, name string) {
		image, ok := passing(name)
		if ok && (!isImage(image) || isImage(name) || !strings.HasPrefix(name, "."+image)) {
			t.Errorf("passing(%q) = %q; want an image that the name begins with", name, image)
		}
	})
}
