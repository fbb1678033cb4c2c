//! Settings from all sources, and everything that can be wrong with them.

use super::*;
use crate::clock::Span;
use expect_test::expect;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../lull.example.toml");

fn config(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
    let file = (!file.is_empty()).then_some(File { path: Path::new("lull.toml"), text: file });
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_sources(file, environment, flags)
}

fn defaults() -> Config {
    config("", &[], &Flags::default()).expect("defaults are good")
}

/// The one line a bad file is refused with.
#[track_caller]
fn refused(file: &str) -> String {
    let message = config(file, &[], &Flags::default()).expect_err(file).to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn the_example_file_shows_every_setting_with_its_default() {
    let example = config(EXAMPLE, &[], &Flags::default()).expect("the example is good");
    let defaults = defaults();
    assert_eq!(example.http, defaults.http);
    assert_eq!(example.media, defaults.media);
    assert_eq!(example.store, defaults.store);
    assert_eq!(example.call, defaults.call);
    assert_eq!(example.signaling, defaults.signaling);
    assert_eq!(example.webhooks, defaults.webhooks);
    assert_eq!(example.log, defaults.log);

    let mut section = "";
    let mut named = BTreeSet::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    let known: BTreeSet<String> = defaults.shown.iter().map(|shown| shown.key().to_owned()).collect();
    assert_eq!(named, known);
}

#[test]
fn the_commented_settings_of_the_example_are_good_too() {
    let file = EXAMPLE.replace("# public_url", "public_url").replace("# tls_", "tls_");
    let config = config(&file, &[], &Flags::default()).expect("good");
    assert_eq!(config.http.public_url.map(|url| url.to_string()).as_deref(), Some("https://calls.example.org"));
    assert!(config.http.tls.is_some());
}

#[test]
fn the_later_source_wins() {
    let file = "[http]\nlisten = '127.0.0.1:1001'\n[media]\nshards = 2\npublic_ips = ['192.0.2.1']\n[call]\npause_limit_s = 61";
    let environment =
        [("LULL_HTTP_LISTEN", "127.0.0.1:1002"), ("LULL_MEDIA_SHARDS", "3"), ("LULL_MEDIA_PUBLIC_IPS", "192.0.2.2, 192.0.2.3")];
    let flags = Flags { http: Some("127.0.0.1:1003".to_owned()), ..Flags::default() };
    let config = config(file, &environment, &flags).expect("good");
    assert_eq!(config.http.listen.port(), 1003, "flag over environment and file");
    assert_eq!(config.media.shards, 3, "environment over file");
    assert_eq!(config.media.public_ips.len(), 2, "a list is replaced, not added to");
    assert_eq!(config.call.pause_limit, Span::from_s(61), "file over default");
    assert_eq!(config.call.media_timeout, Span::from_s(5), "default");
}

#[test]
fn each_flag_sets_what_it_says() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }
    let line = "lull --db sqlite:/a.db --log warn --http [::]:81 --udp [::]:82 --public-ip 192.0.2.1 --public-ip 2001:db8::1 \
                --public-url https://a.example/ --tls-cert c --tls-key k --shards 4";
    let flags = <Line as clap::Parser>::try_parse_from(line.split_whitespace()).map(|line| line.flags).expect("parses");
    let config = config("", &[], &flags).expect("good");
    assert_eq!(config.store.db, Path::new("/a.db"));
    assert_eq!(config.log.filter, "warn");
    assert_eq!((config.http.listen.port(), config.media.listen.port()), (81, 82));
    assert_eq!(config.media.public_ips.len(), 2);
    assert_eq!(config.http.public_url.map(|url| url.to_string()).as_deref(), Some("https://a.example"));
    assert_eq!(config.http.tls, Some(Tls { cert: "c".into(), key: "k".into() }));
    assert_eq!(config.media.shards, 4);
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    for (file, given, nearest) in [
        ("[http]\nlistn = ''", "http.listn", "http.listen"),
        ("[htpp]\nlisten = ''", "htpp.listen", "http.listen"),
        ("[call]\npause_limit = 60", "call.pause_limit", "call.pause_limit_s"),
        ("[call]\nfilter = 'info'", "call.filter", "log.filter"),
        ("db = 'sqlite:a'", "db", "store.db"),
        ("[http.tls]\ncert = 'a'", "http.tls.cert", "http.tls_cert"),
        ("[medai]", "medai", "media.listen"),
        ("[call]\nwarnings = 3\nwarnings_s = 'x'", "call.warnings", "call.warnings_s"),
    ] {
        let message = refused(file);
        assert_eq!(message, format!("file lull.toml: there is no setting {given}; the nearest is {nearest}"), "{file}");
    }
    let message = config("", &[("LULL_CALL_PAUSE_LIMIT", "60"), ("OTHER", "")], &Flags::default()).expect_err("unknown").to_string();
    expect!["environment LULL_CALL_PAUSE_LIMIT: there is no setting LULL_CALL_PAUSE_LIMIT; the nearest is LULL_CALL_PAUSE_LIMIT_S"]
        .assert_eq(&message);
}

#[test]
fn a_bad_value_is_refused_by_name_value_and_what_is_accepted() {
    for (key, value) in [
        ("http.listen", "8080"),
        ("http.listen", "'localhost'"),
        ("http.listen", "'127.0.0.1:70000'"),
        ("webhooks.allow_networks", "['10.0.0.0']"),
        ("webhooks.allow_networks", "['10.0.0.0/33']"),
        ("webhooks.allow_networks", "['fd00::/129']"),
        ("webhooks.allow_networks", "['shop.example/8']"),
        ("webhooks.retries_s", "[5, -1]"),
        ("http.public_url", "'calls.example.org'"),
        ("http.public_url", "'ftp://calls.example.org'"),
        ("http.public_url", "'https://'"),
        ("http.public_url", "'https://a.example/app'"),
        ("http.public_url", "'https://a.example?x=1'"),
        ("http.public_url", "'https://a.example/#x'"),
        ("http.public_url", "'https://a.example:0'"),
        ("http.public_url", "'https://a.example:+1'"),
        ("http.public_url", "'https://-a.example'"),
        ("http.public_url", "'https://[::1'"),
        ("http.public_url", "'https://a b'"),
        ("http.public_url", "true"),
        ("http.tls_cert", "''"),
        ("http.tls_key", "1"),
        ("media.listen", "'7000'"),
        ("media.tcp", "'true'"),
        ("media.tcp", "1"),
        ("media.public_ips", "'192.0.2.1'"),
        ("media.public_ips", "['host']"),
        ("media.public_ips", "['0.0.0.0']"),
        ("media.public_ips", "['224.0.0.1']"),
        ("media.public_ips", "[1]"),
        ("media.shards", "0"),
        ("media.shards", "65"),
        ("media.sound_workers", "65"),
        ("media.sound_workers", "-1"),
        ("media.shards", "'2'"),
        ("store.db", "'lull.db'"),
        ("store.db", "'sqlite:'"),
        ("store.db", "'sqlite::memory:'"),
        ("call.media_timeout_s", "0"),
        ("call.media_timeout_s", "5.0"),
        ("call.media_timeout_s", "-5"),
        ("call.quiet_timeout_s", "301"),
        ("call.pause_limit_s", "'60'"),
        ("call.pause_limit_s", "99999999999"),
        ("call.connect_limit_s", "0"),
        ("call.no_show_limit_s", "0"),
        ("call.listen_only_after_s", "0"),
        ("call.max_duration_s", "59"),
        ("call.gift_limit_s", "-1"),
        ("call.max_open", "0"),
        ("call.warnings_s", "60"),
        ("call.warnings_s", "[0]"),
        ("call.warnings_s", "['60']"),
        ("call.warnings_s", "[1,2,3,4,5,6,7,8,9,10,11]"),
        ("call.companion_share_bps", "10001"),
        ("call.vendor_share_bps", "0.3"),
        ("signaling.ip_requests_per_second", "0"),
        ("signaling.caller_requests_per_second", "0"),
        ("signaling.joins_per_minute", "0"),
        ("signaling.socket_messages_per_second", "0"),
        ("signaling.body_bytes", "4095"),
        ("signaling.sdp_bytes", "19999"),
        ("signaling.request_timeout_s", "0"),
        ("signaling.hello_timeout_s", "301"),
        ("signaling.write_timeout_s", "'10'"),
        ("signaling.ping_every_s", "0"),
        ("signaling.idle_timeout_s", "1"),
        ("signaling.sockets", "1"),
        ("signaling.sockets_per_ip", "1"),
        ("signaling.socket_queue", "7"),
        ("signaling.inbound_queue", "15"),
        ("log.filter", "''"),
        ("log.filter", "'lull=loud'"),
        ("log.filter", "2"),
        ("log.filter", "{level = 'info'}"),
    ] {
        let (section, name) = key.split_once('.').expect("section.key");
        let message = refused(&format!("[{section}]\n{name} = {value}"));
        // A table under a setting's name is an unknown name below it.
        let told = message.starts_with(&format!("file lull.toml: {key} is ")) && message.contains("; accepted is ");
        assert!(told || message.contains(&format!("no setting {key}.")), "{key} = {value}: {message}");
    }
    expect!["file lull.toml: media.shards is 65; accepted is a whole number from 1 to 64"].assert_eq(&refused("[media]\nshards = 65"));
    let message = config("", &[("LULL_MEDIA_SHARDS", "many")], &Flags::default()).expect_err("bad").to_string();
    expect![[r#"environment LULL_MEDIA_SHARDS: media.shards is "many"; accepted is a whole number from 1 to 64"#]].assert_eq(&message);
    let flags = Flags { public_ip: vec!["192.0.2.1".to_owned(), "here".to_owned()], ..Flags::default() };
    let message = config("", &[], &flags).expect_err("bad").to_string();
    expect![[r#"flag --public-ip: media.public_ips is "192.0.2.1" "here"; accepted is IP addresses of this machine as browsers reach it"#]]
        .assert_eq(&message);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (file, part) in [
        ("[http]\ntls_cert = 'a'", "http.tls_key is not"),
        ("[http]\ntls_key = 'a'", "http.tls_cert is not"),
        ("[media]\nlisten = '0.0.0.0:65534'\nshards = 3", "would pass 65535"),
        ("[media]\npublic_ips = ['2001:db8::1']", "[::]:7000 hears both"),
        (
            "[media]\npublic_ips = ['10.0.0.1','10.0.0.2','10.0.0.3','10.0.0.4','10.0.0.5','10.0.0.6','10.0.0.7','10.0.0.8','10.0.0.9']",
            "at most 8",
        ),
        ("[call]\nmedia_timeout_s = 20", "below call.media_timeout_s 20"),
        ("[call]\npause_limit_s = 15", "not above call.quiet_timeout_s 15"),
        ("[call]\nvendor_share_bps = 4000", "sum to 11000"),
        ("[signaling]\nidle_timeout_s = 20", "not above signaling.ping_every_s 20"),
        ("[call]\nwarnings_s = [60, 10, 60]", "holds 60 twice"),
    ] {
        let message = refused(file);
        assert!(message.contains(part), "{file}: {message}");
    }
    assert!(config("[media]\nlisten = '0.0.0.0:65534'\nshards = 2", &[], &Flags::default()).is_ok());
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    assert!(refused("[http]\nlisten = 'a'\nlisten = 'b'").starts_with("lull.toml, line 3: "));
    assert!(refused("[http]\n\nlisten =\n").starts_with("lull.toml, line 3: "));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.toml");
    let flags = Flags::from(BaseFlags { config: Some(path.clone()), ..BaseFlags::default() });
    let message = Config::load(&flags).expect_err("missing").to_string();
    assert!(message.starts_with(&format!("cannot read {}: ", path.display())), "{message}");
}

#[test]
fn warnings_are_longest_first() {
    let config = config("[call]\nwarnings_s = [10, 300, 60]", &[], &Flags::default()).expect("good");
    assert_eq!(config.call.limits().warnings, [300, 60, 10].map(Span::from_s));
}

#[test]
fn links_begin_with_what_leads_here() {
    for (file, bound, url) in [
        ("", "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("", "0.0.0.0:41234", "http://127.0.0.1:41234"),
        ("", "[::]:81", "http://[::1]:81"),
        ("[http]\ntls_cert='c'\ntls_key='k'", "192.0.2.7:443", "https://192.0.2.7:443"),
        ("[http]\npublic_url='HTTPS://Calls.Example.org:8443/'", "127.0.0.1:1", "https://calls.example.org:8443"),
    ] {
        let http = config(file, &[], &Flags::default()).expect(file).http;
        assert_eq!(http.public_url(bound.parse().expect(bound)).as_str(), url);
    }
}

#[test]
fn a_page_without_a_microphone_is_warned_of() {
    for (url, warned) in [
        ("https://calls.example.org", 0),
        ("http://localhost:8080", 0),
        ("http://a.localhost", 0),
        ("http://127.8.0.1", 0),
        ("http://[::1]:80", 0),
        ("http://calls.example.org", 1),
        ("http://192.168.1.5:8080", 1),
        ("http://notlocalhost", 1),
    ] {
        let config = config(&format!("[http]\npublic_url = '{url}'"), &[], &Flags::default()).expect(url);
        assert_eq!(config.warnings.len(), warned, "{url}: {:?}", config.warnings);
    }
    assert_eq!(config("[http]\nlisten = '0.0.0.0:8080'", &[], &Flags::default()).expect("good").warnings.len(), 1);
}

#[test]
fn what_is_in_force_is_printed_with_where_it_came_from() {
    let flags = Flags { shards: Some("2".to_owned()), ..Flags::default() };
    let config = config("[call]\npause_limit_s = 90", &[("LULL_LOG_FILTER", "warn")], &flags).expect("good");
    expect![[r#"
        [http]
        listen = "127.0.0.1:8080" # default
        public_url = "http://127.0.0.1:8080" # from http.listen
        # tls_cert is not set
        # tls_key is not set

        [media]
        listen = "0.0.0.0:7000" # default
        tcp = true # default
        shards = 2 # flag --shards
        max_legs = 2000 # default
        max_load_percent = 75 # default
        sound_workers = 0 # default
        public_ips = [] # default

        [store]
        db = "sqlite:lull.db" # default
        lease_s = 60 # default

        [call]
        media_timeout_s = 5 # default
        quiet_timeout_s = 15 # default
        pause_limit_s = 90 # file lull.toml
        connect_limit_s = 60 # default
        no_show_limit_s = 600 # default
        listen_only_after_s = 5 # default
        max_duration_s = 43200 # default
        gift_limit_s = 3600 # default
        max_open = 1000 # default
        warnings_s = [300, 60, 10] # default
        companion_share_bps = 7000 # default
        vendor_share_bps = 3000 # default

        [signaling]
        ip_requests_per_second = 200 # default
        caller_requests_per_second = 200 # default
        joins_per_minute = 10 # default
        socket_messages_per_second = 20 # default
        body_bytes = 16384 # default
        sdp_bytes = 65536 # default
        request_timeout_s = 10 # default
        hello_timeout_s = 10 # default
        write_timeout_s = 10 # default
        ping_every_s = 20 # default
        idle_timeout_s = 45 # default
        sockets = 10000 # default
        sockets_per_ip = 256 # default
        socket_queue = 64 # default
        inbound_queue = 1024 # default

        [webhooks]
        allow_http = false # default
        allow_networks = [] # default
        # ca_file is not set
        retries_s = [5, 30, 120, 600, 3600, 10800, 21600, 43200, 86400, 86400, 86400, 86400] # default
        connect_timeout_s = 5 # default
        timeout_s = 15 # default
        endpoints_per_vendor = 16 # default

        [recording]
        folder = "recordings" # default
        # key is not set
        # key_file is not set
        old_key_files = [] # default
        keep_free_mb = 1024 # default

        [log]
        filter = "warn" # environment LULL_LOG_FILTER
    "#]]
    .assert_eq(&config.effective());
}

#[test]
fn what_is_printed_can_be_read_back() {
    let flags = Flags {
        public_ip: vec!["192.0.2.1".to_owned()],
        tls_cert: Some("a \"quoted\"\nname".to_owned()),
        tls_key: Some("k".to_owned()),
        ..Flags::default()
    };
    let first = config("", &[], &flags).expect("good");
    let second = config(&first.effective(), &[], &Flags::default()).expect("reads back");
    assert_eq!(second.media, first.media);
    assert_eq!(second.http.tls, first.http.tls);
    assert_eq!(second.http.public_url, Some(first.http.public_url(first.http.listen)));
}

#[test]
fn a_password_is_never_printed() {
    let secret = "hunter2";
    for file in [
        "[store]\ndb = 'postgres://lull:hunter2@db.example/lull'",
        "[store]\ndb = 'postgres://lull:hun@ter2:hunter2@db.example/lull'",
        "[http]\npublic_url = 'https://me:hunter2@calls.example.org'",
        "[media]\npublic_ips = ['turn://a:hunter2@b']",
        "[log]\nfilter = ['x://u:hunter2@h']",
        "[store]\ndb = 'sqlite:a'\ndb = 'postgres://lull:hunter2@db.example/lull'",
    ] {
        let error = config(file, &[], &Flags::default()).expect_err(file);
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let flags = Flags::from(BaseFlags { db: Some("postgres://lull:hunter2@db.example/lull".to_owned()), ..BaseFlags::default() });
    let error = config("", &[], &flags).expect_err("not sqlite").to_string();
    assert!(error.contains("postgres://lull:***@db.example/lull"), "{error}");

    let good = config("[store]\ndb = 'sqlite:x://u:hunter2@h'", &[], &Flags::default()).expect("an odd file name");
    assert!(!good.effective().contains(secret));
}

#[test]
fn the_api_key_of_a_caller_in_the_same_shell_is_no_setting() {
    assert!(config("", &[("LULL_KEY", "lk_0")], &Flags::default()).is_ok());
    assert!(config("", &[("LULL_KEYS", "lk_0")], &Flags::default()).is_err());
}
