// Package handoff holds what the host and the guest say to each other: the
// [Boot] order that the host leaves in the initrd, and the [Frame]s of the
// agent's channel afterwards.
//
// It is data and codecs only. It opens nothing, and it is the one place besides
// package mounts that both sides may know, so a change here is a change to both.
//
// # The channel
//
// The agent speaks over a virtio-serial port named [PortName]: a byte stream
// with no notion of a session. Each frame is a 9-byte header (payload length,
// kind, stream; big endian) and at most [MaxPayload] bytes. Frames of stream 0
// concern the guest; every other stream is one command run by exec and is
// chosen by the host, which never uses a number twice.
//
// # Who may flood whom
//
// Neither side trusts the other to be polite. A side may have at most [Window]
// bytes of data outstanding on a stream; it earns them back as the other
// side's reader takes them ([KindCredit]). So a reader that stops costs its
// peer a bounded buffer, and one stuck command does not stop the others. A
// frame that breaks a rule ends the channel: there is no resynchronising with
// a peer that lies.
package handoff
