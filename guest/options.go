package guest

import (
	"strings"

	"golang.org/x/sys/unix"
)

// flags is what a list of mount options means to mount(2).
type flags struct {
	set         uintptr // MS_* of the mount itself
	propagation uintptr // MS_SHARED and its kind, which need a call of their own
	data        string  // what is left, for the file system
}

// A word is an option that mount(8) turns into flags, or drops.
type word struct{ set, clear, propagation uintptr }

// words is fstab's vocabulary, as in mount(8) under "filesystem-independent
// mount options". Words without flags are for programs that read fstab, not
// for the kernel, which would refuse them.
var words = map[string]word{
	"ro":            {set: unix.MS_RDONLY},
	"rw":            {clear: unix.MS_RDONLY},
	"nosuid":        {set: unix.MS_NOSUID},
	"suid":          {clear: unix.MS_NOSUID},
	"nodev":         {set: unix.MS_NODEV},
	"dev":           {clear: unix.MS_NODEV},
	"noexec":        {set: unix.MS_NOEXEC},
	"exec":          {clear: unix.MS_NOEXEC},
	"sync":          {set: unix.MS_SYNCHRONOUS},
	"async":         {clear: unix.MS_SYNCHRONOUS},
	"dirsync":       {set: unix.MS_DIRSYNC},
	"mand":          {set: unix.MS_MANDLOCK},
	"nomand":        {clear: unix.MS_MANDLOCK},
	"noatime":       {set: unix.MS_NOATIME},
	"atime":         {clear: unix.MS_NOATIME},
	"nodiratime":    {set: unix.MS_NODIRATIME},
	"diratime":      {clear: unix.MS_NODIRATIME},
	"relatime":      {set: unix.MS_RELATIME},
	"norelatime":    {clear: unix.MS_RELATIME},
	"strictatime":   {set: unix.MS_STRICTATIME},
	"nostrictatime": {clear: unix.MS_STRICTATIME},
	"lazytime":      {set: unix.MS_LAZYTIME},
	"nolazytime":    {clear: unix.MS_LAZYTIME},
	"silent":        {set: unix.MS_SILENT},
	"loud":          {clear: unix.MS_SILENT},
	"bind":          {set: unix.MS_BIND},
	"rbind":         {set: unix.MS_BIND | unix.MS_REC},

	"private":     {propagation: unix.MS_PRIVATE},
	"rprivate":    {propagation: unix.MS_PRIVATE | unix.MS_REC},
	"shared":      {propagation: unix.MS_SHARED},
	"rshared":     {propagation: unix.MS_SHARED | unix.MS_REC},
	"slave":       {propagation: unix.MS_SLAVE},
	"rslave":      {propagation: unix.MS_SLAVE | unix.MS_REC},
	"unbindable":  {propagation: unix.MS_UNBINDABLE},
	"runbindable": {propagation: unix.MS_UNBINDABLE | unix.MS_REC},

	"defaults": {clear: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_SYNCHRONOUS},
	"auto":     {}, "noauto": {}, "nofail": {}, "_netdev": {},
	"user": {}, "nouser": {}, "users": {}, "owner": {}, "group": {},
}

// parseOptions sorts mount options, one to an element, into flags and data.
// Where two contradict each other the later one wins, as in mount(8).
func parseOptions(options []string) flags {
	var f flags
	var data []string
	for _, s := range options {
		switch w, ok := words[s]; {
		case ok:
			f.set = f.set&^w.clear | w.set
			if w.propagation != 0 {
				f.propagation = w.propagation
			}
		case s == "", strings.HasPrefix(s, "x-"), strings.HasPrefix(s, "X-"), strings.HasPrefix(s, "comment="):
		default:
			data = append(data, s)
		}
	}
	f.data = strings.Join(data, ",")
	return f
}
