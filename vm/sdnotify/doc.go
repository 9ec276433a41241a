// Package sdnotify hears what systemd in a guest says of itself over vsock.
//
// A guest is told where to say it by the credential vmm.notify_socket, which
// systemd heeds since version 254: see systemd(1), "System credentials", and
// sd_notify(3) for the messages. Each comes on a connection of its own, and systemd
// waits for that to be closed since version 256, so it is closed as soon as the
// message is read.
//
// The ports of vsock are the whole host's. A [Listener] has one that the kernel
// picks, and believes only the guest that it is for.
package sdnotify
