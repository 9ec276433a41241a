package agent

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Of the process events connector, linux/connector.h and linux/cn_proc.h.
const (
	cnIdxProc   = 1 // CN_IDX_PROC and CN_VAL_PROC
	listen1     = 1 // PROC_CN_MCAST_LISTEN
	eventExec   = 2 // PROC_EVENT_EXEC
	cnHeader    = 20
	offsetWhat  = unix.NLMSG_HDRLEN + cnHeader
	offsetTGID  = offsetWhat + 20 // after what, cpu, timestamp and the thread's id
	eventBuffer = 1 << 10
)

// initExecs is the kernel's announcements that process 1 has executed a program.
type initExecs struct{ *os.File }

// watchInit asks for them. The kernel announces what every process does; a
// filter keeps the rest from waking this process.
func watchInit() (initExecs, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			err = errors.New("the kernel has no process events (CONFIG_PROC_EVENTS)")
		}
		return initExecs{}, err
	}
	x := initExecs{os.NewFile(uintptr(fd), "process events")}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetWhat},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: wire(eventExec), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetTGID},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: wire(1), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc})
	}
	if err == nil {
		err = unix.Sendto(fd, subscription(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		x.Close()
		return initExecs{}, err
	}
	return x, nil
}

// wire is v as a filter sees it: filters read in network order what the
// connector writes in the machine's.
func wire(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}

// subscription is the message that starts the events: a netlink header, the
// connector's, and the order.
func subscription() []byte {
	const size = unix.NLMSG_HDRLEN + cnHeader + 4
	e := binary.NativeEndian
	b := e.AppendUint32(nil, size)
	b = e.AppendUint16(b, unix.NLMSG_DONE)
	b = append(b, make([]byte, 10)...) // flags, sequence, port
	b = e.AppendUint32(b, cnIdxProc)
	b = e.AppendUint32(b, cnIdxProc)
	b = append(b, make([]byte, 8)...) // sequence, acknowledgement
	b = e.AppendUint16(b, 4)          // bytes that follow
	b = e.AppendUint16(b, 0)          // flags
	return e.AppendUint32(b, listen1)
}

// wait returns when process 1 has executed a program since the last wait.
func (x initExecs) wait() error {
	_, err := x.Read(make([]byte, eventBuffer))
	if errors.Is(err, unix.ENOBUFS) {
		return nil // too many to keep: it did happen
	}
	return err
}
