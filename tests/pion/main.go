// A whole call made by Pion: ICE, DTLS, numbered audio there and back, data channels while it runs.
//
//	pion URL [snap]
//
// Places a call at URL (an offer by POST), tells its story to an echoing server and prints what it saw as one line of
// JSON; tests/system/test_pion_call.py judges that. A step that does not come to its end exits with status 1, and
// says which. With `snap` Pion offers its INIT in the SDP (draft-hancke-tsvwg-snap).
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

const (
	patience  = 20 * time.Second
	talking   = 6 * time.Second // how long the call lasts at least
	manyFirst = 301             // stream ids of the channels that are opened, closed and opened again: odd, as a DTLS server's
	many      = 100
	agreedID  = 200
)

type report struct {
	Audio    audioReport `json:"audio"`
	Echoed   int         `json:"echoed"`   // messages that came back as they were sent
	Rounds   int         `json:"rounds"`   // of all kinds of messages, after the channels that came and went
	Longest  int         `json:"longest"`  // bytes
	Reopened int         `json:"reopened"` // channels that worked under an id that another had before
	Snap     bool        `json:"snap"`     // the answer took the INIT of the offer
	Seconds  float64     `json:"seconds"`
}

func check(err error, doing string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
		os.Exit(1)
	}
}

func await(done <-chan struct{}, what string) {
	select {
	case <-done:
	case <-time.After(patience):
		check(fmt.Errorf("not within %v", patience), what)
	}
}

func newPeer(snap bool) *webrtc.PeerConnection {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.EnableSctpSnap(snap)
	media := &webrtc.MediaEngine{}
	check(media.RegisterDefaultCodecs(), "codecs")
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media))
	peer, err := api.NewPeerConnection(webrtc.Configuration{})
	check(err, "peer connection")
	return peer
}

// call places the offer and takes the answer; returns when ICE and DTLS are done.
func call(peer *webrtc.PeerConnection, url string) string {
	connected := make(chan struct{})
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			close(connected)
		case webrtc.PeerConnectionStateFailed:
			check(fmt.Errorf("failed"), "connection")
		}
	})
	offer, err := peer.CreateOffer(nil)
	check(err, "offer")
	gathered := webrtc.GatheringCompletePromise(peer)
	check(peer.SetLocalDescription(offer), "local description")
	<-gathered
	reply, err := http.Post(url, "application/sdp", strings.NewReader(peer.LocalDescription().SDP))
	check(err, "post")
	answer, err := io.ReadAll(reply.Body)
	check(err, "answer")
	if reply.StatusCode != http.StatusCreated {
		check(fmt.Errorf("%d %s", reply.StatusCode, answer), "answer")
	}
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)}
	check(peer.SetRemoteDescription(description), "remote description")
	await(connected, "ICE and DTLS")
	return string(answer)
}

func main() {
	begun, snap := time.Now(), len(os.Args) > 2 && os.Args[2] == "snap"
	peer := newPeer(snap)
	audio := newAudio(peer)
	yes, id := true, uint16(agreedID)
	events := open(peer, "events", &webrtc.DataChannelInit{})
	agreed := open(peer, "agreed", &webrtc.DataChannelInit{Negotiated: &yes, ID: &id})
	answer := call(peer, os.Args[1])
	found := report{Snap: strings.Contains(answer, "a=sctp-init:")}
	stop := audio.run()
	for _, one := range []*channel{events, agreed} {
		one.awaitOpen()
		found.count(one.exchange(messages()))
	}
	for turn := range 2 {
		channels := openMany(peer, turn)
		for number, one := range channels {
			one.awaitOpen()
			found.count(one.exchange([]message{{true, []byte(fmt.Sprintf("turn %d, channel %d", turn, number))}}))
			found.Reopened += turn
		}
		for _, one := range channels {
			check(one.it.Close(), "close")
		}
		for _, one := range channels {
			await(one.closed, "close of "+one.it.Label())
		}
	}
	for time.Since(begun) < talking { // what was open all the time has not suffered, and audio does not under bulk
		found.count(events.exchange(messages()))
		found.Rounds++
	}
	found.Audio = stop()
	found.Seconds = time.Since(begun).Seconds()
	check(peer.Close(), "hang up")
	check(json.NewEncoder(os.Stdout).Encode(found), "report")
}

func openMany(peer *webrtc.PeerConnection, turn int) []*channel {
	var channels []*channel
	for number := range many {
		id, ordered := uint16(manyFirst+2*number), number%2 == 0
		options := &webrtc.DataChannelInit{ID: &id, Ordered: &ordered}
		channels = append(channels, open(peer, fmt.Sprintf("%d/%d", turn, number), options))
	}
	return channels
}

func messages() []message {
	long := bytes.Repeat([]byte("0123456789abcdef"), 16384) // 256 KiB
	return []message{
		{true, []byte("hello")}, {false, []byte("\x00\x01\xff")}, {true, nil}, {false, nil},
		{true, bytes.Repeat([]byte("ü"), 1000)}, {false, long[:5000]}, {false, long}, {true, long}, {true, []byte("end")},
	}
}

func (r *report) count(sent []message) {
	r.Echoed += len(sent)
	for _, one := range sent {
		r.Longest = max(r.Longest, len(one.data))
	}
}
