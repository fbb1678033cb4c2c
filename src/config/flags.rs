//! The flags of the command line that are settings. Their values are texts: `reader` converts them, so that a bad
//! flag is told in the same words as a bad line of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The flags of every command.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct BaseFlags {
    /// Settings file (TOML); lull.example.toml shows every setting
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database [setting store.db]
    #[arg(long, value_name = "sqlite:PATH")]
    pub db: Option<String>,
    /// What to log, such as info or lull=debug [setting log.filter]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// The flags of a command that serves.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// The flags of every command.
    #[command(flatten)]
    pub base: BaseFlags,
    /// Address of pages and REST [setting http.listen]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Address of media, for UDP and TCP; each further shard takes the next port [setting media.listen]
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<String>,
    /// Address by which browsers reach this machine; may be given several times [setting media.public_ips]
    #[arg(long, value_name = "IP")]
    pub public_ip: Vec<String>,
    /// Beginning of links [setting http.public_url]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Certificate chain (PEM), for https [setting http.tls_cert]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate (PEM) [setting http.tls_key]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Threads that carry media [setting media.shards]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
}

impl From<BaseFlags> for Flags {
    fn from(base: BaseFlags) -> Self {
        Self { base, ..Self::default() }
    }
}

impl Flags {
    /// By the name of the setting: the flag and what was given, for those that were.
    pub(super) fn given(&self) -> BTreeMap<&'static str, (&'static str, Vec<String>)> {
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        [
            ("store.db", "--db", one(&self.base.db)),
            ("log.filter", "--log", one(&self.base.log)),
            ("http.listen", "--http", one(&self.http)),
            ("media.listen", "--udp", one(&self.udp)),
            ("media.public_ips", "--public-ip", self.public_ip.clone()),
            ("http.public_url", "--public-url", one(&self.public_url)),
            ("http.tls_cert", "--tls-cert", one(&self.tls_cert)),
            ("http.tls_key", "--tls-key", one(&self.tls_key)),
            ("media.shards", "--shards", one(&self.shards)),
        ]
        .into_iter()
        .filter(|(_, _, values)| !values.is_empty())
        .map(|(key, flag, values)| (key, (flag, values)))
        .collect()
    }
}
