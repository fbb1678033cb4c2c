//! The handshakes of a shard over a bad network, in virtual time: both directions lose a fifth of all datagrams.
//!
//! `HANDSHAKES=10000 cargo test --release --lib handshakes_survive -- --nocapture` makes more of them and prints how long
//! they took.

mod ways;

use super::*;
use crate::call::Medium;
use crate::clock::Span;
use crate::media::client::{self, Client};
use crate::media::dtls::records::client_random;
use crate::media::socket::Way;
use uuid::Uuid;

/// One way.
const DELAY: Duration = Duration::from_millis(20);
/// A leg that is not connected by then is given up.
const LIMIT: Duration = Duration::from_secs(30);

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A network and both ends of one leg on it.
struct Scene {
    calls: Calls,
    clock: Clock,
    now: Instant,
    random: u64,
    /// Of 100 datagrams so many are lost.
    loss: u64,
}

/// What became of a leg.
struct Outcome {
    took: Option<Duration>,
    /// ClientHellos that began a handshake: a browser answers the first one only.
    handshakes: usize,
}

impl Scene {
    fn new(loss: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from; it is moved by hand afterwards")]
        let (clock, now) = (Clock::start(), Instant::now());
        let identity = Arc::new(Identity::generate().expect("ring"));
        Self { calls: Calls::new(identity, clock, vec![at(7700)], true), clock, now, random: 0x9e37_79b9_7f4a_7c15, loss }
    }

    fn is_lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < self.loss
    }

    /// Joins a page and carries datagrams until both ends have their keys, or for half a minute.
    fn connect(&mut self, page: &Arc<client::Identity>) -> Outcome {
        let mut client = Client::new(page.clone(), false);
        let (call, leg) = (CallId::new(Uuid::now_v7()), LegId::new(Uuid::now_v7()));
        let open = OpenLeg {
            call,
            side: Side::Client,
            leg,
            offer: client.offer().to_owned(),
            medium: Medium::Audio,
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: false,
        };
        let answer = self.calls.open(&open, self.now).expect("an acceptable offer");
        client.accept(&answer, self.now).expect("an answer that works");
        let began = self.now;
        let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
        let (mut page_is_up, mut leg_is_up) = (false, false);
        let mut hellos = Vec::new();
        let mut buffer = [0; SLOT];
        while !(page_is_up && leg_is_up) && self.now - began < LIMIT {
            while let Some(transmit) = client.poll_transmit() {
                if !self.is_lost() {
                    up.push_back((self.now + DELAY, transmit.payload));
                }
            }
            for (_, datagram) in std::mem::take(&mut self.calls.datagrams) {
                if let Some(random) = client_random(&datagram)
                    && !hellos.contains(&random)
                {
                    hellos.push(random);
                }
                if !self.is_lost() {
                    down.push_back((self.now + DELAY, datagram));
                }
            }
            let arrivals = [&up, &down].map(|way| way.front().map(|(due, _)| *due));
            let due = arrivals.into_iter().chain([client.poll_timeout(), self.calls.due()]).flatten().min();
            self.now = self.now.max(due.expect("a client has timers"));
            if let Some((_, datagram)) = up.pop_front_if(|(due, _)| *due <= self.now) {
                buffer[..datagram.len()].copy_from_slice(&datagram);
                let path = Path { peer: at(4000), local: None, way: Way::Udp };
                self.calls.datagram(&mut buffer, datagram.len(), path, self.now, self.clock.at(self.now));
            }
            if let Some((_, mut datagram)) = down.pop_front_if(|(due, _)| *due <= self.now) {
                client.handle_datagram(&mut datagram, at(7700), self.now);
            }
            client.handle_timeout(self.now);
            while self.calls.do_chore(self.now) {}
            page_is_up |= std::iter::from_fn(|| client.poll_event()).any(|event| event == client::Event::Connected);
            leg_is_up |= self.calls.reports.drain(..).any(|report| matches!(report, Report::Connected { .. }));
        }
        let took = (page_is_up && leg_is_up).then(|| self.now - began);
        self.calls.close_leg(call, leg, self.now);
        self.calls.datagrams.clear();
        self.calls.reports.clear();
        Outcome { took, handshakes: hellos.len() }
    }
}

/// Joins many and prints how long they took. Returns how many did not connect, and how many needed a second handshake.
fn join_many(kind: &str, page: &Arc<client::Identity>) -> (usize, usize, usize) {
    let count = std::env::var("HANDSHAKES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let mut scene = Scene::new(20);
    let outcomes: Vec<Outcome> = (0..count).map(|_| scene.connect(page)).collect();
    let mut took: Vec<Duration> = outcomes.iter().filter_map(|outcome| outcome.took).collect();
    took.sort();
    let again = outcomes.iter().filter(|outcome| outcome.handshakes > 1).count();
    let of = |part: usize| took.get(took.len() * part / 1000).or(took.last()).copied().unwrap_or_default().as_millis();
    println!(
        "{kind}: {} of {count} connected, {again} after a second handshake; p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        took.len(),
        of(500),
        of(990),
        of(999),
        of(1000),
    );
    (count, count - took.len(), again)
}

#[test]
fn handshakes_survive_a_fifth_of_all_datagrams_lost() {
    let (count, failed, again) = join_many("a page that takes what is offered first", &client::Identity::generate().expect("ring"));
    assert!(failed * 1000 <= count, "{failed} of {count} did not connect");
    assert!(again * 1000 <= count.max(1000), "{again} of {count} needed a second handshake, to which browsers are deaf");
    let (count, failed, _) = join_many("a page that refuses GCM", &client::Identity::refusing_gcm().expect("ring"));
    assert!(failed * 1000 <= count, "{failed} of {count} did not connect");
}

#[test]
fn a_handshake_on_a_good_network_takes_three_round_trips_and_a_half() {
    let outcome = Scene::new(0).connect(&client::Identity::generate().expect("ring"));
    // A request and its answer with our ClientHello, which the page's library has us repeat with a cookie, and two flights.
    assert_eq!((outcome.took, outcome.handshakes), (Some(DELAY * 7), 1));
}
