// Command fakeqemu stands in for QEMU in tests of process life. It takes QEMU's
// arguments, speaks QMP on the descriptor that they name, and otherwise does
// what a script says: mostly what no healthy QEMU would do.
//
// The script is in the environment, as FAKEQEMU_SCRIPT, with one directive to a
// line or between semicolons; "#" starts a comment. Without a script it is a
// QEMU whose guest powers off when asked.
//
//	greeting none|garbage|cut|early-event   what to do instead of greeting
//	stderr TEXT                     write a line to standard error
//	console TEXT                    write a line to the console after cont
//	console-flood                   write to the console without end after cont
//	agent ready [FILE]              be a guest whose agent reports ready after cont, with
//	                                FILE's contents as its mounts
//	agent silent|garbage|flood      or one with an agent that is broken
//	events N                        send N events after the handshake
//	flood                           send events without end after the handshake
//	sigterm ignore                  live on after SIGTERM
//	exit CODE                       exit before the greeting
//	on COMMAND ACTION               do ACTION when COMMAND comes, instead of the usual
//
// Several actions for one command are done in their order. The actions are:
//
//	answer [JSON]        return JSON, or an empty object
//	silence              no answer
//	error CLASS DESC     refuse
//	event NAME [JSON]    send an event
//	garbage              send what is no message
//	cut                  send half a message and close QMP, but live on
//	close                close QMP, but live on
//	exit CODE            exit
//	kill                 die by SIGKILL
//	reboot               let the guest reboot
//	sleep DURATION       wait
//
// It exits with status 99, and says why, when script or arguments make no
// sense.
package main
