package sidecar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"testing"
)

// ethernet makes a frame with right checksums.
func ethernet(proto byte, src, dst netip.AddrPort, payload string) []byte {
	var body []byte
	body = binary.BigEndian.AppendUint16(body, src.Port())
	body = binary.BigEndian.AppendUint16(body, dst.Port())
	at := 6
	if proto == protoUDP {
		body = binary.BigEndian.AppendUint16(body, uint16(8+len(payload)))
		body = append(body, 0, 0)
	} else {
		at = 16
		body = append(body, make([]byte, 16)...)
		body[12] = 5 << 4 // five words of header
	}
	body = append(body, payload...)
	pseudo := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, proto)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(body)))
	binary.BigEndian.PutUint16(body[at:], checksum(append(pseudo, body...)))

	f := make([]byte, 12, 100)
	if src.Addr().Is6() {
		f = append(f, 0x86, 0xdd, 6<<4, 0, 0, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
		f = append(f, proto, 64)
		f = append(append(f, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		return append(f, body...)
	}
	f = append(f, 0x08, 0x00)
	head := []byte{4<<4 | 5, 0, 0, 0, 0, 1, 0x40, 0, 64, proto, 0, 0} // do not fragment
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(body)))
	head = append(append(head, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return append(append(f, head...), body...)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	var n uint32
	for i := 0; i < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// TestRedirectsRewriteFrames follows packets of the guest there and back: each
// is one that its sender could have sent.
func TestRedirectsRewriteFrames(t *testing.T) {
	at := netip.MustParseAddrPort
	redirects := []Redirect{
		{From: at("10.0.2.10:80"), To: at("127.0.0.1:8080")},
		{UDP: true, From: at("10.0.2.2:53"), To: at("192.0.2.1:5353")},
		{From: at("[fec0::10]:80"), To: at("[::1]:8080")},
	}
	tests := []struct {
		name             string
		proto            byte
		guest            string
		dials, reaches   string
		answers, appears string // who answers, and as whom
	}{
		{"TCP to the host", protoTCP, "10.0.2.15:40000", "10.0.2.10:80", "10.0.2.2:8080", "10.0.2.2:8080", "10.0.2.10:80"},
		{"UDP to another machine", protoUDP, "10.0.2.15:40000", "10.0.2.2:53", "192.0.2.1:5353", "192.0.2.1:5353", "10.0.2.2:53"},
		{"TCP over IPv6", protoTCP, "[fec0::15]:40000", "[fec0::10]:80", "[fec0::2]:8080", "[fec0::2]:8080", "[fec0::10]:80"},
		{"the destination itself", protoTCP, "10.0.2.15:40001", "10.0.2.2:8080", "10.0.2.2:8080", "10.0.2.2:8080", "10.0.2.2:8080"},
		{"the other protocol", protoUDP, "10.0.2.15:40000", "10.0.2.10:80", "10.0.2.10:80", "10.0.2.2:8080", "10.0.2.2:8080"},
		{"another port", protoTCP, "10.0.2.15:40000", "10.0.2.10:81", "10.0.2.10:81", "10.0.2.10:81", "10.0.2.10:81"},
	}
	r, err := newRedirector(redirects)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time, and nothing is different
		for _, tt := range tests {
			for _, payload := range []string{"", "odd", "even", "\xff\xff\xff\xff\xff\xff"} {
				got := ethernet(tt.proto, at(tt.guest), at(tt.dials), payload)
				r.fromGuest(got)
				if want := ethernet(tt.proto, at(tt.guest), at(tt.reaches), payload); !bytes.Equal(got, want) {
					t.Errorf("%s: what the guest sends is\n% x; want\n% x", tt.name, got, want)
				}
				got = ethernet(tt.proto, at(tt.answers), at(tt.guest), payload)
				r.toGuest(got)
				if want := ethernet(tt.proto, at(tt.appears), at(tt.guest), payload); !bytes.Equal(got, want) {
					t.Errorf("%s: what the guest receives is\n% x; want\n% x", tt.name, got, want)
				}
			}
		}
	}
	// A port of the guest's that is used anew, for the destination itself.
	direct := ethernet(protoTCP, at("10.0.2.15:40000"), at("10.0.2.2:8080"), "")
	r.fromGuest(direct)
	answer := ethernet(protoTCP, at("10.0.2.2:8080"), at("10.0.2.15:40000"), "")
	want := bytes.Clone(answer)
	if r.toGuest(answer); !bytes.Equal(answer, want) {
		t.Errorf("the answer to a direct connection is rewritten to\n% x", answer)
	}
}

func TestRedirectsRefuse(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, r := range []Redirect{
		{}, {From: at("10.0.2.10:80")}, {From: at("10.0.2.10:80"), To: at("[::1]:80")}, {From: at("10.0.2.10:0"), To: at("127.0.0.1:80")},
	} {
		if _, err := newRedirector([]Redirect{r}); err == nil {
			t.Errorf("newRedirector(%v) = nil; want an error", r)
		}
	}
}

// FuzzRedirector: a guest may send anything, and nothing of it changes its length
// or what is not an address, a port or a checksum.
func FuzzRedirector(f *testing.F) {
	at := netip.MustParseAddrPort
	f.Add(ethernet(protoTCP, at("10.0.2.15:1"), at("10.0.2.10:80"), "x"))
	f.Add(ethernet(protoUDP, at("[fec0::15]:1"), at("[fec0::10]:80"), "x"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := newRedirector([]Redirect{{From: at("10.0.2.10:80"), To: at("127.0.0.1:8080")}, {UDP: true, From: at("[fec0::10]:80"), To: at("[::1]:8080")}})
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.Clone(frame)
		r.fromGuest(got)
		r.toGuest(got)
		if p, ok := parseFrame(got); ok && (p.proto == protoTCP || p.proto == protoUDP) {
			return
		}
		if !bytes.Equal(got, frame) {
			t.Errorf("% x became % x", frame, got)
		}
	})
}

// TestFramesPassWhole: whatever the pieces are that a stream comes in, each frame
// is rewritten once, and a length that no frame has is an error.
func TestFramesPassWhole(t *testing.T) {
	var stream []byte
	for _, n := range []int{0, 1, 60, 1514, frameLimit} {
		stream = binary.BigEndian.AppendUint32(stream, uint32(n))
		stream = append(stream, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	for _, piece := range []int{1, 3, 1000, len(stream)} {
		var got bytes.Buffer
		var sizes []int
		err := passFrames(&got, &pieces{stream, piece}, func(f []byte) { sizes = append(sizes, len(f)) })
		if !errors.Is(err, io.EOF) || !bytes.Equal(got.Bytes(), stream) || len(sizes) != 5 {
			t.Errorf("in pieces of %d: %d bytes, frames of %v, %v; want %d bytes, 5 frames", piece, got.Len(), sizes, err, len(stream))
		}
	}
	if err := passFrames(io.Discard, bytes.NewReader([]byte{0x7f, 0, 0, 0}), func([]byte) {}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a frame of 2 GiB = %v; want an error", err)
	}
}

// pieces is a reader that never returns more than so many bytes.
type pieces struct {
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.size, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}
