// Pion's SCTP as a yardstick and as a peer.
//
//	sctp_pion bench SIZE TOTAL   two associations on a pipe in memory; prints CPU seconds for TOTAL bytes
//	sctp_pion transfer SIZE SECONDS LEFT LEFT_PEER RIGHT RIGHT_PEER   two associations over UDP, see bench/sctp_ends.py
//	sctp_pion memory COUNT       bytes of an idle association
//	sctp_pion echo               a server on a free UDP port of 127.0.0.1 (printed); every message goes back on its
//	                             stream, a DATA_CHANNEL_OPEN is answered with an ACK
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/pion/logging"
	"github.com/pion/sctp"
)

// packets is one end of a pipe that keeps packet borders and never blocks the sender for long.
type packets struct {
	in, out chan []byte
	closed  chan struct{}
}

func (p *packets) Read(b []byte) (int, error) {
	select {
	case data := <-p.in:
		return copy(b, data), nil
	case <-p.closed:
		return 0, io.EOF
	}
}

func (p *packets) Write(b []byte) (int, error) {
	select {
	case p.out <- append([]byte(nil), b...):
	case <-p.closed:
	}
	return len(b), nil
}

func (p *packets) Close() error                     { return nil }
func (p *packets) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (p *packets) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (p *packets) SetDeadline(time.Time) error      { return nil }
func (p *packets) SetReadDeadline(time.Time) error  { return nil }
func (p *packets) SetWriteDeadline(time.Time) error { return nil }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func config(conn net.Conn) sctp.Config {
	return sctp.Config{NetConn: conn, LoggerFactory: logging.NewDefaultLoggerFactory(), MaxMessageSize: 262144,
		EnableZeroChecksum: true}
}

func cpu() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func bench(size, total int) {
	one, two, closed := make(chan []byte, 4096), make(chan []byte, 4096), make(chan struct{})
	left, right := &packets{one, two, closed}, &packets{two, one, closed}
	accepted := make(chan *sctp.Association)
	go func() {
		server, err := sctp.Server(config(right))
		check(err)
		accepted <- server
	}()
	client, err := sctp.Client(config(left))
	check(err)
	server := <-accepted
	done := make(chan struct{})
	go func() {
		stream, err := server.AcceptStream()
		check(err)
		buffer, heard := make([]byte, 300000), 0
		for heard < total {
			n, err := stream.Read(buffer)
			check(err)
			heard += n
		}
		close(done)
	}()
	stream, err := client.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
	check(err)
	low := make(chan struct{}, 1)
	stream.SetBufferedAmountLowThreshold(262144)
	stream.OnBufferedAmountLow(func() {
		select {
		case low <- struct{}{}:
		default:
		}
	})
	message, begun := make([]byte, size), cpu()
	for sent := 0; sent < total+size; sent += size {
		_, err = stream.WriteSCTP(message, sctp.PayloadTypeWebRTCBinary)
		check(err)
		if stream.BufferedAmount() > 524288 {
			<-low
		}
	}
	<-done
	fmt.Println(cpu() - begun)
	close(closed)
	os.Exit(0)
}

func answer(stream *sctp.Stream) {
	defer stream.Close() // resets our direction when the peer has reset its own
	buffer := make([]byte, 300000)
	for {
		n, kind, err := stream.ReadSCTP(buffer)
		if err != nil {
			return
		}
		if kind == sctp.PayloadTypeWebRTCDCEP {
			if buffer[0] != 3 {
				continue
			}
			buffer[0], n = 2, 1
		}
		if _, err = stream.WriteSCTP(append([]byte(nil), buffer[:n]...), kind); err != nil {
			return
		}
	}
}

func echo() {
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	fmt.Println(listener.LocalAddr().(*net.UDPAddr).Port)
	first := make([]byte, 2000)
	_, peer, err := listener.ReadFromUDP(first) // a knock, to learn the address
	check(err)
	listener.Close()
	conn, err := net.DialUDP("udp", listener.LocalAddr().(*net.UDPAddr), peer)
	check(err)
	_, err = conn.Write([]byte("ready"))
	check(err)
	association, err := sctp.Client(config(conn)) // INITs collide, as in WebRTC
	check(err)
	for {
		stream, err := association.AcceptStream()
		if err != nil {
			return
		}
		go answer(stream)
	}
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "bench":
		bench(number(os.Args[2]), number(os.Args[3]))
	case len(os.Args) == 8 && os.Args[1] == "transfer":
		transfer(number(os.Args[2]), time.Duration(number(os.Args[3]))*time.Second, os.Args[4:])
	case len(os.Args) == 3 && os.Args[1] == "memory":
		memory(number(os.Args[2]))
	default:
		echo()
	}
}
