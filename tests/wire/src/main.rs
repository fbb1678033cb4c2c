//! Bad networks for tests: a wire between network namespaces. It gives each of them a TUN device, carries IP packets from
//! one to the other by their destination, and loses, delays, reorders and squeezes them as told on standard input.
//! Linux's netem does the same, but is not in every kernel that has to run the tests.
//!
//! `wire END...`, an end being `name=NETNS,DEVICE,ADDRESS[,ADDRESS]`, with `-` for the namespace it runs in. It makes the
//! devices and no more: addresses and routes are set by who starts it. A line of standard input, `NAME key=value ...`, sets
//! both directions of the line to that end anew (keys: [`line::Terms`]); `?` prints what was carried. At the end of standard
//! input it ends, and its devices with it.
//!
//! It knows nothing of what it carries and never changes a packet.

#![allow(clippy::disallowed_methods)] // a shell: it reads the clock

mod line;
mod tun;

use line::{Line, Terms};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tun::Tun;

/// More than any packet: the devices have Ethernet's MTU.
const PACKET_LIMIT: usize = 2048;
/// Packets taken from one device before the others are looked at.
const TURN: usize = 64;

/// What hangs on one end of the wire.
struct End {
    name: String,
    tun: Tun,
    /// From the device to the middle.
    up: Line,
    /// From the middle to the device.
    down: Line,
}

struct Wire {
    ends: Vec<End>,
    homes: BTreeMap<IpAddr, usize>,
    /// Packets for an address that nobody has.
    homeless: u64,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut wire = Wire { ends: Vec::new(), homes: BTreeMap::new(), homeless: 0 };
    for word in std::env::args().skip(1) {
        wire.add(&word)?;
    }
    if wire.ends.is_empty() {
        return Err("no ends; each is name=NETNS,DEVICE,ADDRESS[,ADDRESS]".to_owned());
    }
    tun::sleep_precisely();
    say("ready")?;
    wire.carry()
}

impl Wire {
    fn add(&mut self, word: &str) -> Result<(), String> {
        let wrong = || format!("an end is name=NETNS,DEVICE,ADDRESS[,ADDRESS], not {word:?}");
        let (name, rest) = word.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.split(',');
        let (netns, device) = (parts.next().ok_or_else(wrong)?, parts.next().ok_or_else(wrong)?);
        let at = self.ends.len();
        for address in parts {
            self.homes.insert(address.parse().map_err(|_| wrong())?, at);
        }
        let tun = Tun::open((netns != "-").then_some(netns), device).map_err(|error| format!("no TUN device in {netns}: {error}"))?;
        // Each direction has its own luck, the same in every run.
        let seed = 2 * at as u64;
        self.ends.push(End { name: name.to_owned(), tun, up: Line::new(seed), down: Line::new(seed + 1) });
        Ok(())
    }

    /// Carries until standard input ends.
    fn carry(&mut self) -> Result<(), String> {
        let stdin = io::stdin();
        let mut words = Vec::new();
        let started = Instant::now();
        let mut polled: Vec<libc::pollfd> = self.ends.iter().map(|end| tun::readable(end.tun.as_raw_fd())).collect();
        polled.push(tun::readable(stdin.as_raw_fd()));
        loop {
            let now = started.elapsed();
            let due = self.deliver(now);
            tun::poll(&mut polled, due.map(|due| due.saturating_sub(now))).map_err(|error| format!("poll: {error}"))?;
            let now = started.elapsed();
            for (at, place) in polled[..self.ends.len()].iter().enumerate() {
                if place.revents != 0 {
                    self.collect(at, now)?;
                }
            }
            if polled.last().is_some_and(|place| place.revents != 0) {
                if !tun::read_into(stdin.as_raw_fd(), &mut words).map_err(|error| format!("standard input: {error}"))? {
                    return Ok(());
                }
                while let Some(end) = words.iter().position(|&octet| octet == b'\n') {
                    let line: Vec<u8> = words.drain(..=end).collect();
                    self.obey(String::from_utf8_lossy(&line).trim())?;
                }
            }
        }
    }

    /// Takes what a device has.
    fn collect(&mut self, at: usize, now: Duration) -> Result<(), String> {
        let mut packet = [0; PACKET_LIMIT];
        for _ in 0..TURN {
            let end = &mut self.ends[at];
            let Some(len) = end.tun.read(&mut packet).map_err(|error| format!("{}: {error}", end.name))? else { break };
            end.up.take(packet[..len].into(), now);
        }
        Ok(())
    }

    /// Hands over what is due and says when the next is.
    fn deliver(&mut self, now: Duration) -> Option<Duration> {
        for at in 0..self.ends.len() {
            while let Some((packet, due)) = self.ends[at].up.next(now) {
                match destination(&packet).and_then(|address| self.homes.get(&address)) {
                    // From when it was due, not from when we looked: being late must not add up.
                    Some(&to) => self.ends[to].down.take(packet, due),
                    None => self.homeless += 1,
                }
            }
        }
        for end in &mut self.ends {
            while let Some((packet, _)) = end.down.next(now) {
                end.tun.write(&packet);
            }
        }
        self.ends.iter().flat_map(|end| [end.up.due(), end.down.due()]).flatten().min()
    }

    fn obey(&mut self, order: &str) -> Result<(), String> {
        if order == "?" {
            let mut text = String::new();
            for End { name, up, down, .. } in &self.ends {
                text += &format!(
                    "{name} up {} lost {} full {} down {} lost {} full {}; ",
                    up.taken, up.lost, up.full, down.taken, down.lost, down.full
                );
            }
            return say(&format!("{text}homeless {}", self.homeless));
        }
        let mut words = order.split_whitespace();
        let Some(name) = words.next() else { return Ok(()) };
        let end = self.ends.iter_mut().find(|end| end.name == name).ok_or_else(|| format!("there is no end {name:?}"))?;
        let mut terms = Terms::default();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not key=value"))?;
            let value = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            terms.set(key, value.ok_or_else(|| format!("{word:?} has no number"))?)?;
        }
        end.up.terms = terms;
        end.down.terms = terms;
        say(&format!("set {order}"))
    }
}

fn say(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}

/// Where an IP packet goes (RFC 791 section 3.1, RFC 8200 section 3).
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..20)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        6 => packet.get(24..40)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_is_read_from_both_kinds_of_packets() {
        let mut four = vec![0x45; 20];
        four[16..].copy_from_slice(&[198, 18, 1, 2]);
        assert_eq!(destination(&four), "198.18.1.2".parse().ok());
        let mut six = vec![0x60; 40];
        six[24..].copy_from_slice(&[0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(destination(&six), "2001:2::9".parse().ok());
        assert_eq!(
            (destination(&six[..39]), destination(&four[..19]), destination(&[]), destination(&[0x15; 60])),
            (None, None, None, None)
        );
    }
}
