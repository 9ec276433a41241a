package vm

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// Each of these returns what is wrong with a string, as the text of a mistake,
// or "".

// maxMachineName is the longest label of a host name (RFC 1123). It also keeps
// the paths of sockets in the machine's directory below their 107 bytes.
const maxMachineName = 63

var machineName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

func nameTrouble(name string) string {
	switch {
	case name == "":
		return "a machine's name cannot be empty"
	case len(name) > maxMachineName:
		return fmt.Sprintf("a machine's name has at most %d characters, this one %d", maxMachineName, len(name))
	case !machineName.MatchString(name):
		return quoteShort(name) + " is no host name: a machine's name has letters, digits, and hyphens between them"
	}
	return ""
}

// maxInterfaceName is IFNAMSIZ-1: the kernel's, without the closing NUL.
const maxInterfaceName = 15

// interfaceName is stricter than the kernel, which refuses only slashes, colons
// and blanks: a percent sign asks it for a number, and a leading hyphen is an
// option to every tool.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

func interfaceTrouble(name string) string {
	switch {
	case len(name) > maxInterfaceName:
		return fmt.Sprintf("%s has %d characters; the kernel allows an interface %d", quoteShort(name), len(name), maxInterfaceName)
	case !interfaceName.MatchString(name):
		return quoteShort(name) + " is no interface's name; use letters, digits, and after the first character . _ -"
	}
	return ""
}

// guestPathTrouble is for a path in the guest.
func guestPathTrouble(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return quoteShort(p) + " is not absolute; in the guest there is no directory that it could be relative to"
	case strings.ContainsFunc(p, unicode.IsControl):
		return quoteShort(p) + " has a control character"
	case path.Clean(p) != p:
		return quoteShort(p) + " is not in its shortest form; write " + quoteShort(path.Clean(p))
	}
	return ""
}

// hostPathTrouble is for a path on the host that may not be relative.
func hostPathTrouble(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return quoteShort(p) + " is not absolute"
	case strings.ContainsRune(p, 0):
		return quoteShort(p) + " has a NUL byte"
	case path.Clean(p) != p:
		return quoteShort(p) + " is not in its shortest form; write " + quoteShort(path.Clean(p))
	}
	return ""
}

// maxSocketPath is what sockaddr_un has room for, without the closing NUL.
const maxSocketPath = 107

func socketTrouble(p string) string {
	switch {
	case len(p) > maxSocketPath:
		return fmt.Sprintf("the path has %d bytes; a socket's has at most %d", len(p), maxSocketPath)
	case strings.ContainsRune(p, 0):
		return quoteShort(p) + " has a NUL byte"
	}
	return ""
}

// maxKernelLine is what x86-64 and arm64 kernels keep of a command line
// (COMMAND_LINE_SIZE is 2048 with the closing NUL). They cut a longer one
// without a word.
const maxKernelLine = 2047

// kernelBlanks end a word of the kernel's command line, or are dropped from it.
const (
	kernelBlanks  = " \t\""
	notKernelWord = "a blank or a quotation mark cannot be part of a path on the kernel's command line"
)

// checkKernelLine reports a kernel command line that the guest would not see as
// it is.
func checkKernelLine(line string) error {
	switch {
	case len(line) > maxKernelLine:
		return fmt.Errorf("the kernel's command line has %d bytes, and the kernel cuts it after %d", len(line), maxKernelLine)
	case strings.ContainsFunc(line, unicode.IsControl):
		return fmt.Errorf("the kernel's command line has a control character")
	}
	return nil
}
