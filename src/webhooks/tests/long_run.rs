//! Ten thousand deliveries to receivers of chance: they refuse, hang up, are silent, answer twice, redirect, say that they are gone.
//! None is lost, each call's come in order, and it ends.
//!
//! `WEBHOOK_EVENTS=1000000` in the environment makes the run longer than its 10,000.

use super::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Receivers at once, each of which gets everything.
const RECEIVERS: u64 = 4;

/// Of a call: made, live, and paused and resumed so often.
const PAUSES: u64 = 9;
const OF_A_CALL: u64 = 2 + 2 * PAUSES;

/// A delivery takes some milliseconds, and a silent receiver a second; this is many times more, for a machine that has other work.
const MOST_FOR_EACH: Duration = Duration::from_millis(30);

/// What a receiver heard of one call.
#[derive(Default)]
struct Heard {
    last: u64,
    id: String,
    body: String,
    said_yes: bool,
}

/// A receiver of chance, and what it has to say of what came.
#[derive(Default)]
struct Chance {
    seed: u64,
    requests: AtomicU64,
    calls: Mutex<BTreeMap<String, Heard>>,
    breaches: Mutex<Vec<String>>,
    /// From now on it may say, once, that it is gone.
    may_go: AtomicBool,
}

impl Chance {
    /// A number below 1,000 for this request: the same in each run (SplitMix64).
    fn dice(&self, request: u64) -> u64 {
        let mut x = (self.seed << 40 | request).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % 1000
    }

    async fn serve(self: Arc<Self>, mut stream: tokio::net::TcpStream) {
        let dice = self.dice(self.requests.fetch_add(1, Ordering::Relaxed));
        if dice < 20 {
            return; // It hangs up before it has read.
        }
        let Some(got) = read(&mut stream).await else { return };
        let says_yes = dice < 800;
        self.note(&got, says_yes);
        // Whatever is said, the other side may have hung up.
        let _ = match dice {
            20..700 => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await,
            700..740 => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await,
            740..780 => {
                tokio::time::sleep(Duration::from_millis(20)).await; // As slow as some are.
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
            }
            780..800 => stream.write_all(b"HTTP/1.1 202 Accepted\r\n").await, // And its head never ends.
            800..840 => return,
            840..880 => stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n").await,
            998.. => {
                let _ = stream.read(&mut [0]).await; // Silence until the other side hangs up.
                return;
            }
            _ if self.may_go.swap(false, Ordering::Relaxed) => stream.write_all(b"HTTP/1.1 410 Gone\r\n\r\n").await,
            _ => stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await,
        };
    }

    /// The next event of a call comes only behind the one before, and that was taken; a repetition is the same under the same name.
    fn note(&self, got: &Got, says_yes: bool) {
        let body: Value = serde_json::from_str(&got.body).unwrap();
        let (call, seq) = (body["data"]["call_id"].as_str().unwrap().to_owned(), body["data"]["seq"].as_u64().unwrap());
        let id = got.header("webhook-id").to_owned();
        let timestamp = got.header("webhook-timestamp").parse().unwrap();
        let mut calls = self.calls.lock().unwrap();
        let heard = calls.entry(call.clone()).or_default();
        let expect = |holds: bool, what: &str| {
            if !holds {
                self.breaches.lock().unwrap().push(format!("{call} {seq} behind {}: {what}", heard.last));
            }
        };
        expect(got.header("webhook-signature") == webhook_signature(&[[7; 32]], &id, timestamp, &got.body), "its signature");
        if seq == heard.last {
            expect((&id, &got.body) == (&heard.id, &heard.body), "another event of that number");
        } else {
            expect(seq == heard.last + 1, "out of order");
            expect(heard.last == 0 || heard.said_yes, "the one before was not taken yet");
            *heard = Heard { last: seq, id, body: got.body.clone(), said_yes: false };
        }
        heard.said_yes |= says_yes;
    }

    fn has_all_of(&self, calls: usize) -> bool {
        let heard = self.calls.lock().unwrap();
        heard.len() == calls && heard.values().all(|heard| heard.last == OF_A_CALL && heard.said_yes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_reach_receivers_of_chance_in_order() {
    let events: u64 = std::env::var("WEBHOOK_EVENTS").map_or(10_000, |events| events.parse().expect("a number"));
    let calls = usize::try_from(events.div_ceil(RECEIVERS * OF_A_CALL)).unwrap();
    let house = House::new();
    let mut receivers = Vec::new();
    for seed in 0..RECEIVERS {
        let chance = Arc::new(Chance { seed, ..Chance::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = house.endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
        let served = Arc::clone(&chance);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).serve(stream));
            }
        });
        receivers.push((endpoint, chance));
    }
    let settings = Settings { retries: vec![Span::from_ms(2); 60], timeout: Duration::from_secs(1), ..settings() };
    let webhooks = house.start(settings);
    for _ in 0..calls {
        house.call(PAUSES);
    }
    receivers.iter().for_each(|(_, chance)| chance.may_go.store(true, Ordering::Relaxed));
    let mut were_gone = 0;
    let all = async {
        while !receivers.iter().all(|(_, chance)| chance.has_all_of(calls)) {
            for (endpoint, _) in receivers.iter().filter(|(endpoint, _)| house.shown(*endpoint).disabled.is_some()) {
                assert_eq!(house.shown(*endpoint).disabled.map(|(_, why)| why), Some(Disabled::Gone));
                house.commit(vec![Write::Webhook(WebhookWrite::Enable { vendor: house.vendor, endpoint: *endpoint })]);
                were_gone += 1;
            }
            // Receivers are looked at now and then: what they have taken is told to nobody else.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let most = PATIENCE + MOST_FOR_EACH * u32::try_from(events).unwrap();
    tokio::time::timeout(most, all).await.expect("all of them in time");
    house.until(|house| receivers.iter().all(|(endpoint, _)| house.shown(*endpoint).pending == 0).then_some(())).await;
    webhooks.stop().await;
    for (endpoint, chance) in &receivers {
        assert_eq!(*chance.breaches.lock().unwrap(), Vec::<String>::new());
        assert!(chance.requests.load(Ordering::Relaxed) > events / RECEIVERS, "it never failed");
        assert!(house.shown(*endpoint).disabled.is_none());
    }
    assert!(were_gone > 0, "nobody was gone");
    assert_eq!(house.store.traffic().map(|traffic| traffic.pending), Ok(0));
}
