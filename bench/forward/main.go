// Forwarders in Go: `forward single PORT 4|6` with a call per packet, `forward batch PORT 4|6` with ReadBatch and WriteBatch(64).
//
// One goroutine on a locked thread, SO_REUSEPORT, a large receive buffer. The batching one also asks for the destination
// address and answers from it, as the others do; the single one does not, which is in its favour.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	batchSize  = 64
	packetSize = 2048
	room       = 8 << 20
)

func listen(port, version string) *net.UDPConn {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, room)
			}
		})
	}}
	connection, err := config.ListenPacket(context.Background(), "udp"+version, ":"+port)
	must(err)
	return connection.(*net.UDPConn)
}

func single(connection *net.UDPConn) {
	buffer := make([]byte, packetSize)
	for {
		size, source, err := connection.ReadFromUDPAddrPort(buffer)
		if err == nil {
			connection.WriteToUDPAddrPort(buffer[:size], source)
		}
	}
}

// What packet connections of both families have in common; an ipv6.Message is the same type as an ipv4.Message.
type packetConn interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

// batch forwards for good. `space` is how many bytes of control message name a destination address; `turned` makes of
// those that came in the ones that send from that address.
func batch(packets packetConn, space int, turned func(control []byte) []byte) {
	messages := make([]ipv4.Message, batchSize)
	outgoing := make([]ipv4.Message, batchSize)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, packetSize)}
		messages[i].OOB = make([]byte, space)
		outgoing[i].Buffers = [][]byte{nil}
	}
	for {
		count, err := packets.ReadBatch(messages, 0)
		if err != nil {
			continue
		}
		for i := range messages[:count] {
			message := &messages[i]
			outgoing[i].Buffers[0] = message.Buffers[0][:message.N]
			outgoing[i].Addr = message.Addr
			outgoing[i].OOB = turned(message.OOB[:message.NN])
		}
		for done := 0; done < count; {
			sent, err := packets.WriteBatch(outgoing[done:count], 0)
			if err != nil {
				sent = 1
			}
			done += sent
		}
	}
}

func batch4(connection *net.UDPConn) {
	packets := ipv4.NewPacketConn(connection)
	must(packets.SetControlMessage(ipv4.FlagDst, true))
	var came ipv4.ControlMessage
	batch(packets, len(ipv4.NewControlMessage(ipv4.FlagDst)), func(control []byte) []byte {
		came.Parse(control)
		answer := ipv4.ControlMessage{Src: came.Dst}
		return answer.Marshal()
	})
}

func batch6(connection *net.UDPConn) {
	packets := ipv6.NewPacketConn(connection)
	must(packets.SetControlMessage(ipv6.FlagDst, true))
	var came ipv6.ControlMessage
	batch(packets, len(ipv6.NewControlMessage(ipv6.FlagDst)), func(control []byte) []byte {
		came.Parse(control)
		answer := ipv6.ControlMessage{Src: came.Dst}
		return answer.Marshal()
	})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	runtime.LockOSThread()
	kind, port, version := os.Args[1], os.Args[2], os.Args[3]
	connection := listen(port, version)
	fmt.Println("ready")
	switch kind + version {
	case "batch4":
		batch4(connection)
	case "batch6":
		batch6(connection)
	default:
		single(connection)
	}
}
