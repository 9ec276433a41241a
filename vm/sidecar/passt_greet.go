package sidecar

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// greeterPasst returns a function that asks passt for its gateway's Ethernet
// address, as the guest will, and reads up to the end of the answer. Passt
// answers once its ports are bound and it is in its sandbox. Frames that come
// before the answer are dropped, as any frame may be.
func greeterPasst(mac net.HardwareAddr) func(io.ReadWriter) error {
	return func(conn io.ReadWriter) error {
		request := arpRequest(mac)
		// On a stream, each frame follows its length.
		framed := append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)
		if _, err := conn.Write(framed); err != nil {
			return err
		}
		for {
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return err
			}
			n := binary.BigEndian.Uint32(size[:])
			if n > frameLimit {
				return fmt.Errorf("it announces a frame of %d bytes", n)
			}
			frame := make([]byte, n)
			if _, err := io.ReadFull(conn, frame); err != nil {
				return err
			}
			if isARPReply(frame) {
				return nil
			}
		}
	}
}

// Offsets in an Ethernet frame that carries ARP for IPv4 (RFC 826).
const (
	etherType    = 12
	arpOperation = 20
	arpSenderIP  = 28
	arpLen       = 42
)

// arpRequest asks, from the guest's address, who has the gateway's.
func arpRequest(mac net.HardwareAddr) []byte {
	guest, gateway := GuestIPv4.As4(), GatewayIPv4.As4()
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} // to all
	f = append(f, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP: Ethernet, IPv4, sizes, request
	f = append(append(f, mac...), guest[:]...)
	f = append(append(f, 0, 0, 0, 0, 0, 0), gateway[:]...)
	return f
}

func isARPReply(f []byte) bool {
	gateway := GatewayIPv4.As4()
	return len(f) >= arpLen && f[etherType] == 0x08 && f[etherType+1] == 0x06 &&
		f[arpOperation+1] == 2 && [4]byte(f[arpSenderIP:arpSenderIP+4]) == gateway
}
