package security

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// files reads what the process has open: the paths that it can write, and the
// inodes of its sockets.
func (p *Process) files(dir string) (sockets map[string]bool, err error) {
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return nil, err
	}
	sockets = make(map[string]bool)
	for _, fd := range fds {
		to, err := os.Readlink(dir + "/fd/" + fd.Name())
		if err != nil {
			continue // it has been closed
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
			continue
		}
		// Pipes and the like have no path, and what is in memory only has
		// one to be told apart by.
		if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/memfd:") || to == os.DevNull {
			continue
		}
		info, err := os.ReadFile(dir + "/fdinfo/" + fd.Name())
		if err != nil {
			continue
		}
		if writes(info) && !slices.Contains(p.Writable, to) {
			p.Writable = append(p.Writable, to)
		}
	}
	slices.Sort(p.Writable)
	return sockets, nil
}

// writes reads the flags of an open file, which are in octal.
func writes(info []byte) bool {
	flags, err := strconv.ParseUint(parseStatus(info)["flags"], 8, 32)
	if err != nil {
		return true // say too much rather than too little
	}
	return flags&unix.O_PATH == 0 && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// tables are the kernel's lists of sockets. State is that of one that waits to
// be spoken to: listening for TCP, bound and not connected for UDP.
var tables = []struct{ proto, file, state string }{
	{"tcp", "tcp", "0A"}, {"tcp", "tcp6", "0A"}, {"udp", "udp", "07"}, {"udp", "udp6", "07"},
}

// listening finds the sockets among those of a process's network namespace.
func listening(dir string, sockets map[string]bool) ([]string, error) {
	found := []string{}
	for _, t := range tables {
		rows, err := table(dir + "/net/" + t.file)
		if err != nil {
			return nil, err
		}
		for _, w := range rows {
			// sl local_address rem_address st queues tr tm->when retrnsmt uid timeout inode
			if len(w) < 10 || w[3] != t.state || !sockets[w[9]] {
				continue
			}
			at, err := parseAddress(w[1])
			if err != nil {
				return nil, fmt.Errorf("%s/net/%s: %w", dir, t.file, err)
			}
			found = append(found, t.proto+" "+at.String())
		}
	}
	rows, err := table(dir + "/net/unix")
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		// Num RefCount Protocol Flags Type St Inode Path
		const accepts = "00010000" // __SO_ACCEPTCON
		if len(w) < 7 || w[3] != accepts || !sockets[w[6]] {
			continue
		}
		found = append(found, "unix "+strings.Join(w[7:], " "))
	}
	slices.Sort(found)
	return found, nil
}

// table reads the words of each line but the first. A kernel without the
// protocol has no such file.
func table(path string) ([][]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var rows [][]string
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		rows = append(rows, strings.Fields(s.Text()))
	}
	if len(rows) > 0 {
		rows = rows[1:]
	}
	return rows, errors.Join(err, s.Err())
}

// parseAddress reads "0100007F:0050": the address in words of the host's order,
// which is little on all that mvm runs on, and the port as a number.
func parseAddress(s string) (netip.AddrPort, error) {
	addr, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(n)), nil
}
