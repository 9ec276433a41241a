package storedisk

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// refDir holds one symbolic link for each [Options.For], named by it and
// leading to its image.
const refDir = "refs"

// refName is the name of the link that belongs to who. A name that begins with
// a dot is a link being made.
func refName(who string) string {
	name := url.QueryEscape(who)
	if rest, ok := strings.CutPrefix(name, "."); ok {
		return "%2E" + rest
	}
	return name
}

// setRef records that who wants the image called file, and no other any more.
func (c *Cache) setRef(who, file string) error {
	link := filepath.Join(c.Dir, refDir, refName(who))
	target := filepath.Join("..", file)
	if got, err := os.Readlink(link); err == nil && got == target {
		return nil
	}
	err := linkOver(target, link)
	if errors.Is(err, fs.ErrNotExist) {
		if err = c.makeRefDir(); err == nil {
			err = linkOver(target, link)
		}
	}
	return err
}

// makeRefDir makes the directory of links, open to whom the cache is open to.
func (c *Cache) makeRefDir() error {
	fi, err := os.Stat(c.Dir)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Dir, refDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		return err
	}
	return os.Chmod(dir, fi.Mode()&(fs.ModePerm|fs.ModeSetgid))
}

// linkOver makes link a symbolic link to target, in place of what it was.
func linkOver(target, link string) error {
	tmp := hidden(link, tempSuffix)
	if err := removeIfThere(tmp); err != nil {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, link); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// Forget records that who, a name given in [Options.For], wants no image any
// more. It is no error if there was none.
func (c *Cache) Forget(who string) error {
	return removeIfThere(filepath.Join(c.Dir, refDir, refName(who)))
}

// ref returns the name of the image's file that who had last, or "".
func (c *Cache) ref(who string) string {
	if who == "" {
		return ""
	}
	target, err := os.Readlink(filepath.Join(c.Dir, refDir, refName(who)))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// refs returns for each image's file who wants it, in order.
func (c *Cache) refs() (map[string][]string, error) {
	links, err := os.ReadDir(filepath.Join(c.Dir, refDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wanted := make(map[string][]string)
	for _, l := range links {
		who, err := url.QueryUnescape(l.Name())
		if err != nil || l.Type()&fs.ModeSymlink == 0 || strings.HasPrefix(l.Name(), ".") {
			continue
		}
		if file := c.ref(who); file != "" {
			wanted[file] = append(wanted[file], who)
		}
	}
	return wanted, nil
}
