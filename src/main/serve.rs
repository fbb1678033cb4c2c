//! `lull serve`: puts the rooms together, runs them, and takes them down in order.

use crate::descriptors;
use anyhow::{Context, Result, bail};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use lull::clock::{Clock, Span};
use lull::config::{Config, Flags, KeySource, PublicUrl, Tls};
use lull::media;
use lull::recording::{self, Keys, MasterKey, Recorder};
use lull::service::{Ear, Parts, Rules, Service, WebhookRules};
use lull::sound;
use lull::store::{Role, Store};
use lull::webhooks::{self, Webhooks};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use signaling::auth::TokenKey;
use signaling::endpoint::{Door, Ready, router};
use signaling::inbound::Inbound;
use signaling::limits::Rate;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Reports that may wait for the loop; a shard keeps what does not fit and offers it again.
const REPORTS: usize = 4096;

/// A request's header must be there in this time; browsers send it at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Open connections get this long to finish when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// A wall clock that is behind by less is none: two processes read it.
const BEHIND: Span = Span::from_s(2);

pub(crate) fn run(flags: &Flags, accept_clock: bool) -> Result<()> {
    let config = Config::load(flags)?;
    log(&config)?;
    runtime()?.block_on(async {
        let server = Server::start(&config, None, accept_clock).await?;
        tracing::info!("lull serves {}", server.public_url);
        server.run_until_signal().await
    })
}

/// Standard error gets the log; standard output belongs to what a command prints.
pub(crate) fn log(config: &Config) -> Result<()> {
    let filter = config.log.levels().context("log.filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// A certificate in memory, for `lull demo --lan`.
pub(crate) struct Certificate {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

/// Everything that runs.
pub(crate) struct Server {
    pub(crate) public_url: PublicUrl,
    pub(crate) store: Store,
    /// The way into the house that the door uses too.
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) tokens: TokenKey,
    pub(crate) clock: Clock,
    service: Service,
    webhooks: Webhooks,
    recorder: Option<Recorder>,
    sound: sound::JoinGuard,
    media: media::JoinGuard,
    http: Handle<SocketAddr>,
    http_task: JoinHandle<std::io::Result<()>>,
    /// Each connection and socket of the door holds a receiver of this.
    doors: watch::Sender<Ready>,
}

impl Server {
    /// Opens what can fail first: port, database, media; then the door.
    pub(crate) async fn start(config: &Config, certificate: Option<Certificate>, accept_clock: bool) -> Result<Self> {
        descriptors::raise(config.signaling.sockets);
        let listener = listen(config.http.listen)?;
        let bound = listener.local_addr()?;
        let tls = tls(config.http.tls.as_ref(), certificate).await?;
        let store = Store::open(&config.store.db, Role::Server)?;
        let clock = Clock::start_after(store.last_open_moment()?);
        let wall_must_pass = store.last_wall()?.filter(|last| *last > Clock::read().wall + BEHIND && !accept_clock);
        if let Some(last) = wall_must_pass {
            tracing::error!(
                "the wall clock is behind {last}, when something was written before; no new calls until it has passed (or --accept-clock)"
            );
        }
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let (media, media_guard) = media::start(media_settings(config), clock, reports_in)?;
        let (ear, sound) = Ear::start(sound_settings(config), clock, media.clone())?;
        let tokens = TokenKey::new(store.secret("join_token", rand::random())?);
        let public_url = config.http.public_url(bound);
        let (inbound_in, inbound) = mpsc::channel(config.signaling.inbound_queue as usize);
        let (ready_in, ready) = watch::channel(Ready::No("starting".to_owned()));
        let metrics = metrics_page(media.clone())?;
        let recorder = recorder(config, &store, clock)?;
        let service = Service::start(Parts {
            clock,
            store: store.clone(),
            media,
            reports,
            ear,
            recorder: recorder.clone(),
            inbound,
            tokens: tokens.clone(),
            rules: Rules {
                limits: config.call.limits(),
                shares: config.call.shares,
                public_url: public_url.to_string(),
                max_calls: config.call.max_open,
                messages_per_second: config.signaling.socket_messages_per_second,
                webhooks: WebhookRules { allow_http: config.webhooks.allow_http, most_endpoints: config.webhooks.endpoints_per_vendor },
            },
            ready: ready_in.clone(),
            lease: config.store.lease,
            wall_must_pass,
        })
        .await?;
        let webhooks = webhooks::start(store.clone(), clock, webhook_settings(config))?;
        let door = Door {
            inbound: inbound_in.clone(),
            tokens: tokens.clone(),
            clock: Arc::new(move || clock.now().unix_ms().div_euclid(1000)),
            origins: signaling::auth::origin_of(public_url.as_str()).into_iter().collect(),
            settings: door_settings(config),
            ready,
            metrics,
            secure_cookie: public_url.is_https(),
        };
        let app = router(door).into_make_service_with_connect_info::<SocketAddr>();
        let http = Handle::new();
        let handle = http.clone();
        let http_task = match tls {
            Some(tls) => {
                let mut server = axum_server::from_tcp_rustls(listener, tls)?;
                bound_headers(server.http_builder());
                tokio::spawn(async move { server.handle(handle).serve(app).await })
            }
            None => {
                let mut server = axum_server::from_tcp(listener)?;
                bound_headers(server.http_builder());
                tokio::spawn(async move { server.handle(handle).serve(app).await })
            }
        };
        Ok(Self {
            public_url,
            store,
            inbound: inbound_in,
            tokens,
            clock,
            service,
            webhooks,
            recorder,
            sound,
            media: media_guard,
            http,
            http_task,
            doors: ready_in,
        })
    }

    /// Runs until SIGTERM, Ctrl-C or a failure; then ends calls, connections, media and database, in that order.
    pub(crate) async fn run_until_signal(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failed = self.service.ended() => Some(failed),
            ended = &mut self.http_task => bail!("HTTP stopped by itself: {ended:?}"),
        };
        let result = match failed {
            Some(failed) => failed,
            None => {
                tracing::info!("stopping in order; a second signal stops at once");
                tokio::spawn(async move {
                    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                    std::process::exit(130);
                });
                self.service.stop().await
            }
        };
        self.http.graceful_shutdown(Some(GRACE));
        let _ = self.http_task.await; // Its connections had their time; whatever it says, it is over.
        // Pages' sockets are no connections of HTTP's any more; they have their last words still to say.
        let _ = tokio::time::timeout(GRACE, self.doors.closed()).await;
        self.webhooks.stop().await;
        let (sound, media, recorder, store) = (self.sound, self.media, self.recorder, self.store);
        tokio::task::spawn_blocking(move || {
            drop(sound);
            drop(media);
            if let Some(recorder) = recorder {
                recorder.stop();
            }
            store.close();
        })
        .await?;
        tracing::info!("stopped");
        Ok(result?)
    }
}

fn sound_settings(config: &Config) -> sound::Settings {
    let asked = usize::from(config.media.sound_workers);
    if asked == 0 { sound::Settings::default() } else { sound::Settings { workers: asked } }
}

/// A connection that does not finish its request's header is closed.
fn bound_headers(builder: &mut Builder<TokioExecutor>) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on http {address} (http.listen)"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn tls(files: Option<&Tls>, certificate: Option<Certificate>) -> Result<Option<RustlsConfig>> {
    // One provider for the process; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(match (certificate, files) {
        (Some(made), _) => Some(RustlsConfig::from_pem(made.chain_pem.into_bytes(), made.key_pem.into_bytes()).await?),
        (None, Some(files)) => Some(
            RustlsConfig::from_pem_file(&files.cert, &files.key)
                .await
                .with_context(|| format!("cannot use http.tls_cert {} with http.tls_key {}", files.cert.display(), files.key.display()))?,
        ),
        (None, None) => None,
    })
}

fn media_settings(config: &Config) -> media::Settings {
    media::Settings {
        udp: config.media.listen,
        tcp: takes_tcp(config),
        shards: usize::from(config.media.shards),
        public_ips: config.media.public_ips.clone(),
        max_legs: config.media.max_legs,
        max_load_percent: config.media.max_load_percent,
        ..media::Settings::default()
    }
}

/// Whether media is taken over TCP too. Not where the pages have that port: a number that was chosen for both goes on working.
fn takes_tcp(config: &Config) -> bool {
    let (pages, media) = (config.http.listen.port(), config.media.listen.port());
    let is_shared = pages != 0 && media != 0 && (media..=media.saturating_add(config.media.shards - 1)).contains(&pages);
    if config.media.tcp && is_shared {
        tracing::warn!(
            "port {pages} is that of http.listen, so media is not taken over TCP there: browsers in networks that block UDP do not connect"
        );
    }
    config.media.tcp && !is_shared
}

/// What keeps sound: where there is a key, or something to be deleted on its date.
fn recorder(config: &Config, store: &Store, clock: Clock) -> Result<Option<Recorder>> {
    let settings = &config.recording;
    let current = match &settings.key {
        Some(KeySource::Given(octets)) => Some(MasterKey::new(octets)),
        Some(KeySource::File(path)) => Some(MasterKey::from_file(path)?),
        None if store.has_recordings()? => None,
        None => return Ok(None),
    };
    let old = settings.old_key_files.iter().map(|path| MasterKey::from_file(path)).collect::<Result<_, _>>()?;
    let keys = Keys { current, old };
    let (folder, keep_free) = (settings.folder.clone(), settings.keep_free_mb.saturating_mul(1_000_000));
    Ok(Some(Recorder::start(recording::Settings { folder, keys, keep_free }, store.clone(), clock)?))
}

fn webhook_settings(config: &Config) -> webhooks::Settings {
    let settings = &config.webhooks;
    webhooks::Settings {
        allow_http: settings.allow_http,
        allow_networks: settings.allow_networks.iter().map(|network| (network.address, network.prefix)).collect(),
        ca_file: settings.ca_file.clone(),
        retries: settings.retries.clone(),
        connect_timeout: settings.connect_timeout.into(),
        timeout: settings.timeout.into(),
    }
}

fn door_settings(config: &Config) -> signaling::limits::Settings {
    let rates = &config.signaling;
    let rate = |burst: u32, per_s| Rate { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), per: Duration::from_secs(per_s) };
    signaling::limits::Settings {
        // Ten seconds' worth at once: orders come in rushes.
        per_caller: rate(rates.caller_requests_per_second.saturating_mul(10), 10),
        per_ip: rate(rates.ip_requests_per_second.saturating_mul(10), 10),
        joins_per_token: rate(rates.joins_per_minute, 60),
        per_socket: rate(rates.socket_messages_per_second.saturating_mul(3), 3),
        body_max: rates.body_bytes as usize,
        sdp_max: rates.sdp_bytes as usize,
        request_timeout: rates.request_timeout.into(),
        hello_timeout: rates.hello_timeout.into(),
        write_timeout: rates.write_timeout.into(),
        ping_every: rates.ping_every.into(),
        idle_timeout: rates.idle_timeout.into(),
        sockets_max: rates.sockets as usize,
        sockets_per_ip: rates.sockets_per_ip as usize,
        socket_queue: rates.socket_queue as usize,
        ..signaling::limits::Settings::default()
    }
}

fn metrics_page(media: media::Media) -> Result<signaling::endpoint::Metrics> {
    let recorder: PrometheusHandle = PrometheusBuilder::new().install_recorder().context("cannot install the metrics recorder")?;
    lull::service::describe();
    lull::webhooks::describe();
    Ok(Arc::new(move || {
        lull::service::measure(&media);
        recorder.run_upkeep();
        recorder.render()
    }))
}
