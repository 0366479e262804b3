// Pion as an echo server: takes an offer by HTTP POST, sends every RTP packet back.
//
//	pion PORT
//
// ICE-lite, one UDP socket for all calls (UDPMux), receiver and sender reports, nothing else in the interceptor chain:
// what is needed for voice, and the cheapest that Pion has.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

const receiveBuffer = 8 << 20

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func newAPI() *webrtc.API {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	_ = socket.SetReadBuffer(receiveBuffer)
	var settings webrtc.SettingEngine
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	media := &webrtc.MediaEngine{}
	check(media.RegisterDefaultCodecs())
	chain := &interceptor.Registry{}
	check(webrtc.ConfigureRTCPReports(chain))
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(chain))
}

func echo(remote *webrtc.TrackRemote, local *webrtc.TrackLocalStaticRTP) {
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		packet.Extension, packet.Extensions = false, nil
		if err = local.WriteRTP(packet); err != nil {
			return
		}
	}
}

func answer(api *webrtc.API, certificate webrtc.Certificate, offer string) (string, error) {
	peer, err := api.NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{certificate}})
	if err != nil {
		return "", err
	}
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed || state == webrtc.PeerConnectionStateClosed {
			go peer.Close()
		}
	})
	local, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "a", "echo")
	if err != nil {
		return "", err
	}
	sender, err := peer.AddTrack(local)
	if err != nil {
		return "", err
	}
	go func() { // RTCP has to be read, or nothing handles it
		for buffer := make([]byte, 1500); ; {
			if _, _, err := sender.Read(buffer); err != nil {
				return
			}
		}
	}()
	peer.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { echo(remote, local) })
	if err = peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	description, err := peer.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(peer)
	if err = peer.SetLocalDescription(description); err != nil {
		return "", err
	}
	<-gathered
	return peer.LocalDescription().SDP, nil
}

func main() {
	api := newAPI()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	certificate, err := webrtc.GenerateCertificate(key) // one for all calls, as ours
	check(err)
	http.HandleFunc("POST /", func(reply http.ResponseWriter, request *http.Request) {
		offer, err := io.ReadAll(request.Body)
		var text string
		if err == nil {
			text, err = answer(api, *certificate, string(offer))
		}
		if err != nil {
			http.Error(reply, err.Error(), http.StatusInternalServerError)
			return
		}
		reply.Header().Set("Content-Type", "application/sdp")
		reply.Header().Set("Location", "/calls/0")
		reply.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(reply, text)
	})
	check(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
