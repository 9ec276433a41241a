// Netpeer is one end of the connections that network tests make: it runs in
// guests, which busybox alone does not let answer by UDP, and in namespaces.
//
//	netpeer serve PORT     answer by TCP and by UDP, IPv4 and IPv6
//	netpeer names ADDRESS  answer every question for a name's address with 192.0.2.53
//	netpeer ask PROTO ADDRESS TEXT
//
// A server answers with the text, the address that it was asked at, and who
// asked it. Asking is repeated, since what a network under construction loses
// is gone.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	var err error
	switch arg := os.Args[1:]; {
	case len(arg) == 2 && arg[0] == "serve":
		err = serve(arg[1])
	case len(arg) == 2 && arg[0] == "names":
		err = names(arg[1])
	case len(arg) == 4 && arg[0] == "ask":
		err = ask(arg[1], arg[2], arg[3])
	default:
		err = errors.New("usage: netpeer serve PORT | names ADDRESS | ask PROTO ADDRESS TEXT")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netpeer:", err)
		os.Exit(1)
	}
}

func serve(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	go func() {
		var b [2048]byte
		for {
			n, from, err := u.ReadFrom(b[:])
			if err != nil {
				return
			}
			_, _ = u.WriteTo(answer(string(b[:n]), "udp "+port, from), from)
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			text, _ := bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write(answer(text, c.LocalAddr().String(), c.RemoteAddr()))
		}()
	}
}

func answer(text, at string, from net.Addr) []byte {
	return fmt.Appendf(nil, "%s at %s from %v\n", strings.TrimSpace(text), at, from)
}

const (
	tries   = 30
	patient = time.Second // for one try
)

func ask(proto, address, text string) (err error) {
	for range tries {
		var got string
		if got, err = askOnce(proto, address, text); err == nil {
			fmt.Print(got)
			return nil
		}
		time.Sleep(patient / 5)
	}
	return err
}

func askOnce(proto, address, text string) (string, error) {
	c, err := net.DialTimeout(proto, address, patient)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patient))
	if _, err := fmt.Fprintln(c, text); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// names is a name server that knows one answer.
func names(address string) error {
	u, err := net.ListenPacket("udp", net.JoinHostPort(address, "53"))
	if err != nil {
		return err
	}
	fmt.Println("listening")
	var b [512]byte
	for {
		n, from, err := u.ReadFrom(b[:])
		if err != nil {
			return err
		}
		if n < 12+5 {
			continue
		}
		// The question comes back as it was asked; its type is before its class.
		const isResponse, typeA = 0x80, 1
		question := 12
		for question < n && b[question] != 0 {
			question += int(b[question]) + 1
		}
		end := question + 5
		if end > n {
			continue
		}
		reply := append([]byte(nil), b[:end]...)
		reply[2] |= isResponse
		reply[3] = 0x80 // it would ask others, and found no fault
		copy(reply[6:], []byte{0, 0, 0, 0, 0, 0})
		if b[end-3] == typeA {
			reply[7] = 1
			reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 53)
		}
		_, _ = u.WriteTo(reply, from)
	}
}
