//! A server that has no file descriptors left: it waits, at rest, and takes up who waited for it.
#![allow(clippy::disallowed_methods, reason = "another process is waited for by looking again")]

use crate::server::wait_for;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the server is granted, once it asks: some for itself, the others for connections.
const GRANTED: usize = 200;

/// Ends the server with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait())); // It may have ended by itself.
    }
}

impl Process {
    fn look(&self, at: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{at}", self.0.id())).unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// Of all its threads, in ticks of 10 ms.
    fn cpu(&self) -> u64 {
        let stat = self.look("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

/// A port that is free for both.
fn free_port() -> SocketAddr {
    wait_for("a port", || {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        TcpListener::bind(udp.local_addr().unwrap()).ok().and_then(|tcp| tcp.local_addr().ok())
    })
}

fn is_ready(http: SocketAddr) -> Option<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
    agent.get(format!("http://{http}/readyz")).call().ok().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_both_doors_wait_and_open_again() {
    let folder = tempfile::tempdir().unwrap();
    let (http, media) = (free_port(), free_port());
    let log = folder.path().join("log");
    let mut command = Command::new("/bin/sh");
    command.env_clear().args([
        "-c",
        &format!("ulimit -Sn 150 && ulimit -Hn {GRANTED} && exec \"$0\" \"$@\""),
        env!("CARGO_BIN_EXE_lull"),
        "serve",
    ]);
    command.args(["--http", &http.to_string(), "--udp", &media.to_string(), "--shards", "1"]);
    command.args(["--db", &format!("sqlite:{}", folder.path().join("lull.db").display())]);
    let file = std::fs::File::create(&log).unwrap();
    let process = Process(command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap());
    wait_for("readiness", || is_ready(http));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("{GRANTED} files and connections may be open")) && said.contains("LimitNOFILE="), "{said}");

    // More connections than it can have: the kernel takes them, and it does not.
    let crowd: Vec<TcpStream> = (0..GRANTED).map(|_| TcpStream::connect(http).unwrap()).collect();
    wait_for("no descriptor is left", || (process.descriptors() >= GRANTED).then_some(()));
    let mut page = TcpStream::connect(media).unwrap();
    page.write_all(&[0, 2, 0xFF, 0xFF]).unwrap();
    page.set_nonblocking(true).unwrap();
    let (cpu, began) = (process.cpu(), Instant::now());
    wait_for("a second at rest", || (began.elapsed() >= Duration::from_secs(1)).then_some(()));
    let (spent, elapsed) = (process.cpu() - cpu, began.elapsed().as_millis() as u64 / 10);
    assert!(spent * 10 < elapsed, "{spent} of {elapsed} ticks: it tries without pause");
    assert!(page.read(&mut [0; 1]).is_err(), "nobody can have taken that connection");

    drop(crowd);
    wait_for("pages are let in", || is_ready(http));
    // What is no STUN comes from no page: taken, read and closed.
    wait_for("media over TCP is let in", || matches!(page.read(&mut [0; 1]), Ok(0)).then_some(()));
}
