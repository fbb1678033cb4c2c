//! Sending to real receivers on this machine: good ones, slow ones, broken ones, and ones that want more than an answer.

mod long_run;

use super::*;
use crate::billing::{Conditions, Kind, Plan};
use crate::call::{Entry, Fact, Limits, Medium, Policy, Shares, Sounds, Terms};
use crate::clock::Moment;
use crate::ids::{CallId, CompanionId, EndpointId, EventId, HoldId, PlanId, TokenId, TransferId, VendorId};
use crate::money::Money;
use crate::store::faults;
use crate::store::{Companion, Delivery, Disabled, Endpoint, Outcome, Page, Role, Secret, StoreError, Transaction, WebhookWrite, Write};
use serde_json::Value;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// Nothing here takes that long; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the courier waits for a receiver that never answers.
const SHORT: Duration = Duration::from_millis(300);

/// What a receiver does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Says this and waits for the other side to hang up.
    Says(&'static str),
    /// Reads and says nothing.
    IsSilent,
    /// Hangs up.
    HangsUp,
    /// Says yes and goes on talking.
    TalksOn,
    /// Sends a head that never ends.
    NeverBegins,
    /// Says for ever that there is more to come.
    PutsOff,
}

const YES: Does = Does::Says("HTTP/1.1 204 No Content\r\n\r\n");
const NO: Does = Does::Says("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");

/// A request as it came.
#[derive(Debug)]
struct Got {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let (value, more) = (values.next(), values.next());
        assert!(more.is_none(), "{name} twice: {self:?}");
        value.map_or("", |(_, value)| value)
    }

    fn word(&self) -> String {
        serde_json::from_str::<Value>(&self.body).unwrap()["type"].as_str().unwrap().to_owned()
    }
}

struct Receiver {
    at: SocketAddr,
    got: mpsc::UnboundedReceiver<Got>,
}

impl Receiver {
    /// A receiver that does these in turn, and the last of them from then on.
    async fn new(script: &'static [Does]) -> Self {
        Self::on(None, script).await
    }

    async fn on(tls: Option<TlsAcceptor>, script: &'static [Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, got) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let does = script[turn.min(script.len() - 1)];
                turn += 1;
                let tell = tell.clone();
                match tls.clone() {
                    None => drop(tokio::spawn(serve(stream, does, tell))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, does, tell).await;
                        }
                    })),
                }
            }
        });
        Self { at, got }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=1", self.at)
    }

    async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.got.recv()).await.expect("a request in time").unwrap()
    }

    async fn words(&mut self, count: usize) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(self.next().await.word());
        }
        words
    }

    fn got_nothing(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, does: Does, tell: mpsc::UnboundedSender<Got>) {
    let Some(got) = read(&mut stream).await else { return };
    if tell.send(got).is_err() {
        return;
    }
    // Whatever is said, the other side may have hung up.
    match does {
        Does::Says(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.read(&mut [0]).await;
        }
        Does::IsSilent => {
            let _ = stream.read(&mut [0]).await;
        }
        Does::HangsUp => {}
        Does::TalksOn => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
        Does::NeverBegins => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x-more: and more\r\n").await.is_ok() {}
        }
        Does::PutsOff => while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {},
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Got> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let line = lines.next()?.to_owned();
            let headers: Vec<(String, String)> =
                lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
            let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
            if body.len() >= length {
                return Some(Got { line, headers, body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A vendor's store and the courier on it.
struct House {
    _dir: TempDir,
    store: Store,
    clock: Clock,
    vendor: VendorId,
    companion: CompanionId,
}

fn settings() -> Settings {
    Settings {
        allow_http: true,
        allow_networks: vec![("127.0.0.0".parse().unwrap(), 8)],
        ca_file: None,
        retries: vec![Span::ZERO; 3],
        connect_timeout: PATIENCE,
        timeout: PATIENCE,
    }
}

fn impatient() -> Settings {
    Settings { timeout: SHORT, ..settings() }
}

fn id() -> Uuid {
    Uuid::now_v7()
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("lull.db"), Role::Server).unwrap();
        let house = Self { _dir: dir, store, clock: Clock::start(), vendor: VendorId::new(id()), companion: CompanionId::new(id()) };
        let companion =
            Companion { id: house.companion, vendor: house.vendor, name: "Lin".to_owned(), grade: None, created_at: house.clock.now() };
        let vendor = Write::AddVendor { id: house.vendor, name: "House".to_owned(), key_hash: [1; 32], at: house.clock.now() };
        house.commit(vec![vendor, Write::AddCompanion(companion)]);
        house
    }

    fn start(&self, settings: Settings) -> Webhooks {
        start(self.store.clone(), self.clock, settings).unwrap()
    }

    fn commit(&self, writes: Vec<Write>) {
        assert_eq!(self.store.commit(Transaction { idempotency: None, writes }), Ok(Outcome::Committed));
    }

    fn endpoint(&self, url: &str) -> EndpointId {
        let endpoint = Endpoint {
            id: EndpointId::new(id()),
            vendor: self.vendor,
            url: url.to_owned(),
            description: None,
            words: None,
            secret: Secret([7; 32]),
            old_secrets: Vec::new(),
            created_at: self.clock.now(),
            disabled: None,
            last_success_at: None,
            failing_since: None,
            last_error: None,
            pending: 0,
        };
        let id = endpoint.id;
        self.commit(vec![Write::Webhook(WebhookWrite::Add { endpoint: Box::new(endpoint), most: 16 })]);
        id
    }

    fn test(&self, endpoint: EndpointId) -> EventId {
        let (event, at) = (EventId::new(id()), self.clock.now());
        self.commit(vec![Write::Webhook(WebhookWrite::Test { vendor: self.vendor, endpoint, event, at })]);
        event
    }

    /// A call that was made and went live and is paused and resumed so many times.
    fn call(&self, pauses: u64) -> CallId {
        let (call, hold, now) = (CallId::new(id()), HoldId::new(id()), self.clock.now());
        let amount = Money::new(2000, "CNY".parse().unwrap());
        let terms = Terms {
            vendor: self.vendor,
            plan: PlanId::new(id()),
            plan_name: "a quarter".to_owned(),
            sold: Plan::new(amount.currency, Kind::Block { block_s: 900, price: 2000 }, Conditions::default()).unwrap(),
            hold: amount,
            grade_paid: None,
            grade_delivered: None,
            client: "wei".parse().unwrap(),
            client_name: None,
            companion: self.companion,
            companion_name: "Lin".to_owned(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(id()),
            companion_token: TokenId::new(id()),
            zones: None,
            night: None,
            sounds: Sounds::default(),
            recording: None,
            limits: Limits {
                media_timeout: Span::from_s(5),
                quiet_timeout: Span::from_s(15),
                pause_limit: Span::from_s(60),
                connect_limit: Span::from_s(60),
                no_show_limit: Span::from_s(600),
                listen_only_after: Span::from_s(5),
                max_duration: Span::from_s(43_200),
                gift_limit: Span::from_s(3600),
                warnings: vec![],
            },
        };
        let client = terms.client.clone();
        let credit = Write::Credit {
            transfer: TransferId::new(id()),
            vendor: self.vendor,
            client: client.clone(),
            amount,
            order_ref: id().to_string(),
            at: now,
        };
        let mut facts = vec![Fact::Created { terms: Box::new(terms), hold }, Fact::Started];
        for _ in 0..pauses {
            facts.extend([Fact::Paused { cause: crate::call::Fault::Client, since: now }, Fact::Resumed]);
        }
        let entries = facts.into_iter().zip(1..).map(|(fact, seq)| Entry { seq, at: now, fact }).collect();
        let hold = Write::Hold { hold, call, vendor: self.vendor, client, amount, at: now };
        self.commit(vec![credit, Write::Facts { call, entries }, hold]);
        call
    }

    fn shown(&self, endpoint: EndpointId) -> Endpoint {
        self.store.endpoint(self.vendor, endpoint).unwrap().unwrap()
    }

    fn delivery(&self, endpoint: EndpointId, event: EventId) -> Delivery {
        let page = Page { after: None, limit: 200 };
        let all = self.store.deliveries(self.vendor, endpoint, page).unwrap().unwrap();
        all.into_iter().find(|delivery| delivery.event == event).unwrap()
    }

    /// Looks until a delivery is no longer pending.
    async fn settled(&self, endpoint: EndpointId, event: EventId) -> Delivery {
        self.until(|house| Some(house.delivery(endpoint, event)).filter(|delivery| delivery.state != "pending")).await
    }

    async fn until<T>(&self, look: impl Fn(&Self) -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_call_arrive_in_order_signed_and_under_one_id_however_often() {
    let house = House::new();
    let mut receiver = Receiver::new(&[NO, Does::HangsUp, YES]).await;
    let endpoint = house.endpoint(&receiver.url());
    let webhooks = house.start(settings());
    let call = house.call(1);
    let (first, second, third) = (receiver.next().await, receiver.next().await, receiver.next().await);
    for got in [&first, &second, &third] {
        assert_eq!(got.line, "POST /hook?a=1 HTTP/1.1");
        assert_eq!((got.header("webhook-id"), &got.body), (first.header("webhook-id"), &first.body));
        assert_eq!((got.header("content-type"), got.header("host")), ("application/json", receiver.at.to_string().as_str()));
        let timestamp = got.header("webhook-timestamp").parse().unwrap();
        let expected = webhook_signature(&[[7; 32]], got.header("webhook-id"), timestamp, &got.body);
        assert_eq!(got.header("webhook-signature"), expected);
        assert!((house.clock.now().unix_ms() / 1000 - timestamp).abs() <= 60);
    }
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["call_id"]), (&"call.created".into(), &call.to_string().into()));
    assert_eq!(receiver.words(3).await, ["call.started", "call.paused", "call.resumed"]);
    house.until(|house| (house.shown(endpoint).pending == 0).then_some(())).await;
    let delivery = house.delivery(endpoint, first.header("webhook-id").parse().unwrap());
    assert_eq!((delivery.state.as_str(), delivery.attempts, delivery.status), ("delivered", 3, Some(204)));
    webhooks.stop().await;
    assert!(receiver.got_nothing());
}

fn webhook_signature(secrets: &[[u8; 32]], id: &str, timestamp: i64, body: &str) -> String {
    signaling::webhook::signatures(secrets.iter().map(|secret| &secret[..]), id, timestamp, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_the_server_died_goes_out_after_the_next_start() {
    let house = House::new();
    let mut receiver = Receiver::new(&[YES]).await;
    house.endpoint(&receiver.url());
    house.call(0);
    let webhooks = house.start(settings());
    assert_eq!(receiver.words(2).await, ["call.created", "call.started"]);
    webhooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed_and_an_event_is_given_up_after_the_schedule() {
    let house = House::new();
    let mut elsewhere = Receiver::new(&[YES]).await;
    let mut receiver =
        Receiver::new(&[Does::Says("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")]).await;
    let endpoint = house.endpoint(&receiver.url());
    let webhooks = house.start(settings());
    house.call(0);
    assert_eq!(receiver.words(4).await, ["call.created"; 4], "once and three times again");
    let disabled = house.until(|house| house.shown(endpoint).disabled).await;
    assert_eq!(disabled.1, Disabled::Exhausted);
    let shown = house.shown(endpoint);
    assert_eq!((shown.pending, shown.last_error.unwrap().1.as_str()), (2, "answered with status 307"));
    assert!(elsewhere.got_nothing() && receiver.got_nothing());
    // Enabled again it gets what was on its way.
    house.commit(vec![
        Write::Webhook(WebhookWrite::Change {
            vendor: house.vendor,
            endpoint,
            change: crate::store::Change { url: Some(elsewhere.url()), ..Default::default() },
        }),
        Write::Webhook(WebhookWrite::Enable { vendor: house.vendor, endpoint }),
    ]);
    assert_eq!(elsewhere.words(2).await, ["call.created", "call.started"]);
    webhooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_is_taken_at_its_word() {
    let house = House::new();
    let mut receiver = Receiver::new(&[Does::Says("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")]).await;
    let endpoint = house.endpoint(&receiver.url());
    let webhooks = house.start(settings());
    house.call(3);
    receiver.next().await;
    assert_eq!(house.until(|house| house.shown(endpoint).disabled).await.1, Disabled::Gone);
    webhooks.stop().await;
    assert!(receiver.got_nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_dead_and_talkative_receivers_hold_up_nobody_else() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let silent = Receiver::new(&[Does::IsSilent]).await;
    let mut talkative = Receiver::new(&[Does::TalksOn]).await;
    let rambling = Receiver::new(&[Does::NeverBegins]).await;
    let hesitant = Receiver::new(&[Does::PutsOff]).await;
    let mut good = Receiver::new(&[YES]).await;
    let patient = Settings { retries: vec![Span::from_s(3600)], ..settings() };
    let silent_at = house.endpoint(&silent.url());
    for _ in 0..3 {
        house.endpoint(&silent.url());
    }
    let dead_at = house.endpoint(&format!("http://{dead}/"));
    let rambling_at = house.endpoint(&rambling.url());
    let hesitant_at = house.endpoint(&hesitant.url());
    house.endpoint(&talkative.url());
    let good_at = house.endpoint(&good.url());
    let webhooks = house.start(patient);
    for _ in 0..20 {
        house.call(2);
    }
    // The silent ones take all of their time, and the others have all of it behind them before that.
    let mut of_good = good.words(20 * 6).await;
    assert_eq!(house.shown(silent_at).pending, 20 * 6, "it holds one try");
    of_good.sort();
    assert_eq!(of_good.iter().filter(|word| *word == "call.paused").count(), 40);
    talkative.words(20 * 6).await;
    house.until(|house| (house.shown(good_at).pending == 0).then_some(())).await;
    let why = |endpoint| house.until(move |house| house.shown(endpoint).last_error.map(|(_, why)| why));
    assert_eq!(why(dead_at).await, "no connection");
    // They are given up long before their time is over.
    for at in [rambling_at, hesitant_at] {
        assert_eq!(why(at).await, "the connection was closed without an answer, or the answer is not HTTP");
    }
    webhooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_is_hung_up_on() {
    let house = House::new();
    let receiver = Receiver::new(&[Does::IsSilent]).await;
    let endpoint = house.endpoint(&receiver.url());
    let webhooks = house.start(impatient());
    let event = house.test(endpoint);
    let delivery = house.settled(endpoint, event).await;
    assert_eq!((delivery.state.as_str(), delivery.attempts, delivery.status), ("failed", 1, None));
    assert_eq!(delivery.error.as_deref(), Some("no answer in time"));
    webhooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_this_machine_or_in_the_clear_unless_the_settings_say_so() {
    let house = House::new();
    let mut receiver = Receiver::new(&[YES]).await;
    let port = receiver.at.port();
    let in_private = "the address lies in a network that events are not sent to";
    let strict = Settings { allow_networks: vec![("10.0.0.0".parse().unwrap(), 8)], ..settings() };
    let webhooks = house.start(strict);
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "2130706433", "0x7f.1", "127.1"] {
        let endpoint = house.endpoint(&format!("http://{host}:{port}/"));
        let event = house.test(endpoint);
        let error = house.settled(endpoint, event).await.error;
        assert!(error.as_deref() == Some(in_private) || error.as_deref() == Some("the name cannot be resolved"), "{host}: {error:?}");
    }
    webhooks.stop().await;
    let other = House::new();
    let endpoint = other.endpoint(&receiver.url());
    let webhooks = other.start(Settings { allow_http: false, ..settings() });
    let event = other.test(endpoint);
    assert_eq!(other.settled(endpoint, event).await.error.as_deref(), Some("the address does not begin with https"));
    webhooks.stop().await;
    assert!(receiver.got_nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_of_this_name_and_of_a_known_authority() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![made.cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let mut receiver = Receiver::on(Some(TlsAcceptor::from(Arc::new(server))), &[YES]).await;
    let house = House::new();
    let port = receiver.at.port();
    let authority = house._dir.path().join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).unwrap();
    let right = house.endpoint(&format!("https://localhost:{port}/"));
    let wrong = house.endpoint(&format!("https://127.0.0.1:{port}/"));
    let webhooks = house.start(Settings { ca_file: Some(authority.clone()), allow_http: false, ..settings() });
    let (arrives, fails) = (house.test(right), house.test(wrong));
    assert_eq!(house.settled(right, arrives).await.state, "delivered");
    assert_eq!(receiver.next().await.header("host"), format!("localhost:{port}"));
    let refused = "TLS failed: the certificate is not valid for this name, or the server speaks no TLS";
    assert_eq!(house.settled(wrong, fails).await.error.as_deref(), Some(refused));
    webhooks.stop().await;
    let fails = house.test(right);
    let webhooks = house.start(settings());
    assert_eq!(house.settled(right, fails).await.error.as_deref(), Some(refused));
    webhooks.stop().await;
    let broken = Settings { ca_file: Some(house._dir.path().join("nothing.pem")), ..settings() };
    assert!(matches!(start(house.store.clone(), house.clock, broken), Err(StartError::CaFile { .. })));
    let empty = house._dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(
        start(house.store.clone(), house.clock, Settings { ca_file: Some(empty), ..settings() }),
        Err(StartError::CaFile { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_secret_was_replaced_both_sign_for_a_while() {
    let house = House::new();
    let mut receiver = Receiver::new(&[YES]).await;
    let endpoint = house.endpoint(&receiver.url());
    let webhooks = house.start(settings());
    let rotate = |old_until: Moment, secret| {
        let at = house.clock.now();
        house.commit(vec![Write::Webhook(WebhookWrite::Rotate { vendor: house.vendor, endpoint, secret: Secret(secret), at, old_until })]);
    };
    rotate(house.clock.now() + Span::from_s(3600), [8; 32]);
    house.test(endpoint);
    let got = receiver.next().await;
    let timestamp = got.header("webhook-timestamp").parse().unwrap();
    let both = webhook_signature(&[[8; 32], [7; 32]], got.header("webhook-id"), timestamp, &got.body);
    assert_eq!(got.header("webhook-signature"), both);
    rotate(house.clock.now(), [9; 32]);
    house.test(endpoint);
    let got = receiver.next().await;
    let timestamp = got.header("webhook-timestamp").parse().unwrap();
    let alone = webhook_signature(&[[9; 32]], got.header("webhook-id"), timestamp, &got.body);
    assert_eq!(got.header("webhook-signature"), alone);
    webhooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_lets_no_event_go_out_twice() {
    for before_the_start in [false, true] {
        let house = House::new();
        let mut receiver = Receiver::new(&[YES]).await;
        let endpoint = house.endpoint(&receiver.url());
        house.call(0);
        let path = house.store.path().to_owned();
        faults::set(&path, Some(StoreError::Full));
        if before_the_start {
            let prune = Write::Webhook(WebhookWrite::Prune(Vec::new()));
            assert_eq!(house.store.commit(Transaction { idempotency: None, writes: vec![prune] }), Err(StoreError::Full));
        }
        let webhooks = house.start(settings());
        let mut words = Vec::new();
        if !before_the_start {
            words.extend(receiver.words(1).await);
        }
        // Commands are refused for a second after each of these: time for many looks at what is due.
        house.until(|_| (faults::refused(&path) >= 3).then_some(())).await;
        assert!(receiver.got_nothing(), "before the start: {before_the_start}");
        faults::set(&path, None);
        words.extend(receiver.words(2 - words.len()).await);
        assert_eq!(words, ["call.created", "call.started"]);
        house.until(|house| (house.shown(endpoint).pending == 0).then_some(())).await;
        let deliveries = house.store.deliveries(house.vendor, endpoint, Page { after: None, limit: 9 }).unwrap().unwrap();
        assert_eq!(deliveries.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [1, 1]);
        webhooks.stop().await;
        assert!(receiver.got_nothing());
    }
}
