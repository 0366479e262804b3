package main

import (
	"fmt"
	"runtime/debug"

	"github.com/pion/sctp"
)

// memory prints the bytes of an idle association that opened a stream and carried one message, goroutines and their
// stacks included.
func memory(count int) {
	kept := []*sctp.Association{}
	keep := func() {
		one, two, closed := make(chan []byte, 64), make(chan []byte, 64), make(chan struct{})
		client, server := joined(&packets{one, two, closed}, &packets{two, one, closed})
		stream, err := client.OpenStream(0, sctp.PayloadTypeWebRTCBinary)
		check(err)
		_, err = stream.WriteSCTP(make([]byte, 100), sctp.PayloadTypeWebRTCBinary)
		check(err)
		taken, err := server.AcceptStream()
		check(err)
		_, err = taken.Read(make([]byte, 200))
		check(err)
		kept = append(kept, client, server)
	}
	keep()
	debug.FreeOSMemory()
	before := resident()
	for range count {
		keep()
	}
	debug.FreeOSMemory()
	fmt.Println((resident() - before) / (2 * count))
}
