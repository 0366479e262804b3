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
	if err != nil {
		panic(err)
	}
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

func batch(connection *net.UDPConn) {
	packets := ipv4.NewPacketConn(connection)
	if err := packets.SetControlMessage(ipv4.FlagDst, true); err != nil {
		panic(err)
	}
	messages := make([]ipv4.Message, batchSize)
	outgoing := make([]ipv4.Message, batchSize)
	space := len(ipv4.NewControlMessage(ipv4.FlagDst))
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, packetSize)}
		messages[i].OOB = make([]byte, space)
		outgoing[i].Buffers = [][]byte{nil}
	}
	var control ipv4.ControlMessage
	for {
		count, err := packets.ReadBatch(messages, 0)
		if err != nil {
			continue
		}
		for i := range messages[:count] {
			message := &messages[i]
			control.Parse(message.OOB[:message.NN])
			answer := ipv4.ControlMessage{Src: control.Dst}
			outgoing[i].Buffers[0] = message.Buffers[0][:message.N]
			outgoing[i].Addr = message.Addr
			outgoing[i].OOB = answer.Marshal()
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

// The same over IPv6: x/net has no type in common.
func batch6(connection *net.UDPConn) {
	packets := ipv6.NewPacketConn(connection)
	if err := packets.SetControlMessage(ipv6.FlagDst, true); err != nil {
		panic(err)
	}
	messages := make([]ipv6.Message, batchSize)
	outgoing := make([]ipv6.Message, batchSize)
	space := len(ipv6.NewControlMessage(ipv6.FlagDst))
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, packetSize)}
		messages[i].OOB = make([]byte, space)
		outgoing[i].Buffers = [][]byte{nil}
	}
	var control ipv6.ControlMessage
	for {
		count, err := packets.ReadBatch(messages, 0)
		if err != nil {
			continue
		}
		for i := range messages[:count] {
			message := &messages[i]
			control.Parse(message.OOB[:message.NN])
			answer := ipv6.ControlMessage{Src: control.Dst}
			outgoing[i].Buffers[0] = message.Buffers[0][:message.N]
			outgoing[i].Addr = message.Addr
			outgoing[i].OOB = answer.Marshal()
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

func main() {
	runtime.LockOSThread()
	connection := listen(os.Args[2], os.Args[3])
	fmt.Println("ready")
	if os.Args[1] == "batch" && os.Args[3] == "4" {
		batch(connection)
	}
	if os.Args[1] == "batch" {
		batch6(connection)
	}
	single(connection)
}
