package main

import (
	"bytes"
	"fmt"

	"github.com/pion/webrtc/v4"
)

type message struct {
	text bool
	data []byte
}

// channel is one data channel of the call and what came back on it.
type channel struct {
	it             *webrtc.DataChannel
	opened, closed chan struct{}
	heard          chan message
}

func open(peer *webrtc.PeerConnection, label string, options *webrtc.DataChannelInit) *channel {
	it, err := peer.CreateDataChannel(label, options)
	check(err, "channel "+label)
	one := &channel{it, make(chan struct{}), make(chan struct{}), make(chan message, 100)}
	it.OnOpen(func() { close(one.opened) })
	it.OnClose(func() { close(one.closed) })
	it.OnMessage(func(got webrtc.DataChannelMessage) { one.heard <- message{got.IsString, got.Data} })
	return one
}

func (c *channel) awaitOpen() { await(c.opened, "opening of "+c.it.Label()) }

// exchange sends all, then expects all back in order, each as what it was sent.
func (c *channel) exchange(sent []message) []message {
	for _, one := range sent {
		if one.text {
			check(c.it.SendText(string(one.data)), "send")
		} else {
			check(c.it.Send(one.data), "send")
		}
	}
	for number, one := range sent {
		got := c.next(number)
		if got.text != one.text || !bytes.Equal(got.data, one.data) {
			check(fmt.Errorf("sent text %v, %d bytes; came back text %v, %d bytes", one.text, len(one.data), got.text,
				len(got.data)), fmt.Sprintf("message %d of %s", number, c.it.Label()))
		}
	}
	return sent
}

func (c *channel) next(number int) (got message) {
	done := make(chan struct{})
	go func() {
		got = <-c.heard
		close(done)
	}()
	await(done, fmt.Sprintf("message %d of %s", number, c.it.Label()))
	return got
}
