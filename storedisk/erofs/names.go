package erofs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxName is the longest name that a directory entry holds.
const maxName = 255

// sortPaths returns paths in the order of their names, or everything that is
// wrong with the names.
func sortPaths(paths []Path) ([]Path, error) {
	paths = slices.Clone(paths)
	slices.SortStableFunc(paths, func(a, b Path) int { return cmp.Compare(a.Name, b.Name) })
	var errs []error
	for i, p := range paths {
		if err := checkName(p.Name); err != nil {
			errs = append(errs, err)
		}
		switch {
		case i > 0 && paths[i-1].Name == p.Name:
			errs = append(errs, fmt.Errorf("name %q is used twice: %s and %s", p.Name, paths[i-1].Source, p.Source))
		case p.Source == "":
			errs = append(errs, fmt.Errorf("name %q has no source", p.Name))
		}
	}
	return paths, errors.Join(errs...)
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("name %q cannot be a directory entry", name)
	case len(name) > maxName:
		return fmt.Errorf("name %.32q... has %d bytes; at most %d fit", name, len(name), maxName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("name %q contains a slash or a NUL", name)
	}
	return nil
}
