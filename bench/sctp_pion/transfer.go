package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/sctp"
)

const ahead = 524_288 // bytes that wait in the sender: as much as ours may hold

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func wire(port, peer string) *net.UDPConn {
	at := func(text string) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: number(text)} }
	conn, err := net.DialUDP("udp", at(port), at(peer))
	check(err)
	raw, err := conn.SyscallConn()
	check(err)
	check(raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 4<<20)
	}))
	return conn
}

func usage() (user, system float64) {
	var spent syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &spent))
	return float64(spent.Utime.Nano()) / 1e9, float64(spent.Stime.Nano()) / 1e9
}

func joined(left, right net.Conn) (client, server *sctp.Association) {
	accepted := make(chan *sctp.Association)
	go func() {
		one, err := sctp.Server(config(right))
		check(err)
		accepted <- one
	}()
	client, err := sctp.Client(config(left))
	check(err)
	return client, <-accepted
}

// transfer sends messages of `size` for `span` from the left port to the right one; prints what arrived, how long that
// took, and the CPU time of both ends.
func transfer(size int, span time.Duration, ports []string) {
	client, server := joined(wire(ports[0], ports[1]), wire(ports[2], ports[3]))
	var heard atomic.Int64
	go func() {
		stream, err := server.AcceptStream()
		check(err)
		for buffer := make([]byte, 300000); ; {
			n, err := stream.Read(buffer)
			check(err)
			heard.Add(int64(n))
		}
	}()
	stream, err := client.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
	check(err)
	low := make(chan struct{}, 1)
	stream.SetBufferedAmountLowThreshold(ahead / 2)
	stream.OnBufferedAmountLow(func() {
		select {
		case low <- struct{}{}:
		default:
		}
	})
	begun := time.Now()
	user, system := usage()
	go func() {
		for message := make([]byte, size); ; {
			_, err := stream.WriteSCTP(message, sctp.PayloadTypeWebRTCBinary)
			check(err)
			if stream.BufferedAmount() > ahead {
				<-low
			}
		}
	}()
	time.Sleep(span)
	user2, system2 := usage()
	fmt.Println(heard.Load(), time.Since(begun).Seconds(), user2-user, system2-system)
	os.Exit(0)
}

func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	check(err)
	return number(strings.Fields(string(text))[1]) * os.Getpagesize()
}
