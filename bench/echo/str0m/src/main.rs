//! str0m as an echo server: takes an offer by HTTP POST, sends every RTP packet back.
//!
//!     str0m-echo PORT
//!
//! ICE-lite, one UDP socket, one thread for all calls, RTP mode: what str0m's own examples do, with calls found by their
//! address instead of by asking each of them, and timers looked at every few milliseconds instead of after each packet.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::crypto::from_feature_flags;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tiny_http::{Header, Method, Response, Server};

const LOOK: Duration = Duration::from_millis(5); // between two looks at timers and new calls

struct Call {
    rtc: Rtc,
    mid: Option<Mid>,
    deadline: Instant,
    wrote: bool,
}

impl Call {
    /// Send what there is to send, echo what came; until there is only a timeout.
    fn drain(&mut self, socket: &UdpSocket) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) if self.wrote => {
                    self.wrote = false; // what was written leaves with the next timeout, which is due
                    if self
                        .rtc
                        .handle_input(Input::Timeout(Instant::now()))
                        .is_err()
                    {
                        self.rtc.disconnect();
                    }
                }
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    return;
                }
                Ok(Output::Transmit(one)) => {
                    let _ = socket.send_to(&one.contents, one.destination);
                }
                Ok(Output::Event(Event::MediaAdded(one))) => self.mid = Some(one.mid),
                Ok(Output::Event(Event::RtpPacket(packet))) => self.echo(packet),
                Ok(Output::Event(_)) => {}
                Err(_) => self.rtc.disconnect(),
            }
        }
    }

    fn echo(&mut self, packet: RtpPacket) {
        let Some(mid) = self.mid else { return };
        let (header, at) = (&packet.header, packet.timestamp);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(RtpWrite::new(
                header.payload_type,
                packet.seq_no,
                header.timestamp,
                at,
                packet.payload,
            ));
            self.wrote = true;
        }
    }
}

fn run(socket: UdpSocket, local: SocketAddr, new: Receiver<Rtc>) {
    let mut calls: Vec<Call> = Vec::new();
    let mut places: HashMap<SocketAddr, usize> = HashMap::new();
    let mut buffer = vec![0; 2000];
    let mut looked = Instant::now();
    loop {
        let received = socket.recv_from(&mut buffer);
        let now = Instant::now();
        for rtc in new.try_iter() {
            let mut call = Call {
                rtc,
                mid: None,
                deadline: now,
                wrote: false,
            };
            call.drain(&socket);
            calls.push(call);
        }
        if let Ok((size, source)) = received
            && let Ok(contents) = buffer[..size].try_into()
        {
            let input = Input::Receive(
                now,
                Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: local,
                    contents,
                },
            );
            let place = places
                .get(&source)
                .copied()
                .filter(|at| calls[*at].rtc.is_alive());
            let place = place.or_else(|| {
                calls
                    .iter()
                    .position(|one| one.rtc.is_alive() && one.rtc.accepts(&input))
            });
            if let Some(at) = place {
                places.insert(source, at);
                if calls[at].rtc.handle_input(input).is_err() {
                    calls[at].rtc.disconnect();
                }
                calls[at].drain(&socket);
            }
        }
        if now - looked < LOOK {
            continue;
        }
        looked = now;
        for call in calls
            .iter_mut()
            .filter(|one| one.deadline <= now && one.rtc.is_alive())
        {
            if call.rtc.handle_input(Input::Timeout(now)).is_err() {
                call.rtc.disconnect();
            }
            call.drain(&socket);
        }
    }
}

fn answer(
    config: &RtcConfig,
    local: SocketAddr,
    offer: &str,
    calls: &Sender<Rtc>,
) -> Result<String, String> {
    let mut rtc = config.clone().build(Instant::now());
    let candidate = Candidate::host(local, "udp").map_err(|error| error.to_string())?;
    rtc.add_local_candidate(candidate);
    let offer = SdpOffer::from_sdp_string(offer).map_err(|error| error.to_string())?;
    let answer = rtc
        .sdp_api()
        .accept_offer(offer)
        .map_err(|error| error.to_string())?;
    calls.send(rtc).map_err(|error| error.to_string())?;
    Ok(answer.to_sdp_string())
}

fn main() {
    let provider = from_feature_flags();
    provider.install_process_default();
    let certificate = from_feature_flags()
        .dtls_provider
        .generate_certificate()
        .expect("a certificate");
    let config = RtcConfig::new()
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_dtls_cert(certificate);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    socket.set_read_timeout(Some(LOOK)).expect("a timeout");
    let local = socket.local_addr().expect("its address");
    let waker = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    let (calls, new) = channel();
    std::thread::spawn(move || run(socket, local, new));
    let port = std::env::args().nth(1).expect("PORT");
    let server = Server::http(format!("127.0.0.1:{port}")).expect("a TCP port");
    for mut request in server.incoming_requests() {
        let mut offer = String::new();
        let read = request.as_reader().read_to_string(&mut offer);
        if request.method() != &Method::Post || read.is_err() {
            let _ = request.respond(Response::empty(405));
            continue;
        }
        let reply = match answer(&config, local, &offer, &calls) {
            Ok(text) => Response::from_string(text)
                .with_status_code(201)
                .with_header(
                    Header::from_bytes("Content-Type", "application/sdp").expect("a header"),
                )
                .with_header(Header::from_bytes("Location", "/calls/0").expect("a header")),
            Err(reason) => Response::from_string(reason).with_status_code(400),
        };
        let _ = waker.send_to(&[0], local); // take the call now
        let _ = request.respond(reply);
    }
}
