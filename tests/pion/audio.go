package main

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	spacing       = 20 * time.Millisecond
	samples       = 960 // of 48 kHz in that time
	firstSequence = 65_450
	tail          = 500 * time.Millisecond // what is on its way when we stop may still come
)

type audioReport struct {
	Sent       int     `json:"sent"`
	Received   int     `json:"received"`
	Gaps       int     `json:"gaps"`        // places where the numbers coming back do not follow each other
	Foreign    int     `json:"foreign"`     // packets whose sequence number, time or content is not that of their number
	SpacingMax float64 `json:"spacing_max"` // seconds between two that came
}

// audio sends one numbered packet every 20 ms; its number is in the payload, its sequence number wraps on the way.
type audio struct {
	track *webrtc.TrackLocalStaticRTP
	lock  sync.Mutex
	seen  audioReport
	next  uint32 // the number that has to come now

	anchored     bool
	sequenceBase uint16
	timeBase     uint32
	last         time.Time
}

func newAudio(peer *webrtc.PeerConnection) *audio {
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "pion")
	check(err, "track")
	_, err = peer.AddTrack(track)
	check(err, "track")
	a := &audio{track: track}
	peer.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			a.hear(packet)
		}
	})
	return a
}

func (a *audio) hear(packet *rtp.Packet) {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.seen.Received++
	if len(packet.Payload) != 80 {
		a.seen.Foreign++
		return
	}
	number := binary.BigEndian.Uint32(packet.Payload)
	sequence, at := packet.SequenceNumber-uint16(number), packet.Timestamp-number*samples
	if !a.anchored {
		a.anchored, a.sequenceBase, a.timeBase = true, sequence, at
	} else {
		a.seen.SpacingMax = max(a.seen.SpacingMax, time.Since(a.last).Seconds())
	}
	if sequence != a.sequenceBase || at != a.timeBase {
		a.seen.Foreign++
	}
	if number != a.next {
		a.seen.Gaps++
	}
	a.next, a.last = number+1, time.Now()
}

// run begins to talk; what it returns ends that, and tells what came back.
func (a *audio) run() func() audioReport {
	stop, stopped := make(chan struct{}), make(chan struct{})
	sent := 0
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(spacing)
		defer ticks.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticks.C:
				a.send(uint32(sent))
				sent++
			}
		}
	}()
	return func() audioReport {
		close(stop)
		<-stopped
		time.Sleep(tail)
		a.lock.Lock()
		defer a.lock.Unlock()
		a.seen.Sent = sent
		return a.seen
	}
}

func (a *audio) send(number uint32) {
	payload := make([]byte, 80)
	binary.BigEndian.PutUint32(payload, number)
	header := rtp.Header{Version: 2, SequenceNumber: uint16(firstSequence + number), Timestamp: number * samples}
	check(a.track.WriteRTP(&rtp.Packet{Header: header, Payload: payload}), "audio")
}
