//! Commands that open the database for a moment and print something.

use super::say;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use lull::clock::{Clock, Span};
use lull::config::{BaseFlags, Config, Flags};
use lull::exchange;
use lull::ids::VendorId;
use lull::store::{Audited, OpenError, Outcome, Refusal, Role, Store, Transaction, Write};
use signaling::auth::hash_secret;
use uuid::Uuid;

/// How long a login link can be used.
const LOGIN_LINK: Span = Span::from_s(15 * 60);

/// What can be done with vendors.
#[derive(Subcommand)]
pub(crate) enum VendorCommand {
    /// Make a vendor; prints her API key, this once
    Add {
        /// Shown to the vendor's own people
        name: String,
        #[command(flatten)]
        flags: BaseFlags,
    },
    /// Print a link that signs in to the vendor's page, once, within 15 minutes
    Link {
        /// The vendor's name
        name: String,
        #[command(flatten)]
        flags: Flags,
    },
}

pub(crate) fn vendor(command: VendorCommand) -> Result<()> {
    match command {
        VendorCommand::Add { name, flags } => {
            let store = open(&Config::load(&flags.into())?, Role::Tool)?;
            say(add_vendor(&store, &name)?)?;
        }
        VendorCommand::Link { name, flags } => {
            let config = Config::load(&flags)?;
            if !config.store.db.exists() {
                bail!("no database at {}", config.store.db.display());
            }
            let store = open(&config, Role::Tool)?;
            let url = config.http.public_url(config.http.listen);
            say(format_args!("{url}/vendor#{}", login_code(&store, &name)?))?;
        }
    }
    Ok(())
}

/// Makes a vendor and returns her API key; only its hash is kept.
pub(crate) fn add_vendor(store: &Store, name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        bail!("a vendor's name has 1 to 100 characters, none of them control characters");
    }
    let key = format!("lk_{}", secret());
    let add = Write::AddVendor {
        id: VendorId::new(Uuid::now_v7()),
        name: name.to_owned(),
        key_hash: hash_secret(&key),
        at: Clock::start().now(),
    };
    commit(store, add).with_context(|| format!("vendor {name:?}"))?;
    Ok(key)
}

/// Makes a one-time login code for the vendor's page.
pub(crate) fn login_code(store: &Store, name: &str) -> Result<String> {
    let Some(vendor) = store.vendor_by_name(name)? else { bail!("there is no vendor {name:?}; `lull vendor add` makes one") };
    let code = secret();
    let expires_at = Clock::start().now() + LOGIN_LINK;
    commit(store, Write::AddLoginCode { vendor: vendor.id, code_hash: hash_secret(&code), expires_at })?;
    Ok(code)
}

pub(crate) fn audit(flags: BaseFlags) -> Result<()> {
    let store = open(&Config::load(&flags.into())?, Role::Auditor)?;
    let Audited { findings, books, not_rebuilt } = store.audit_books(&|journal| exchange::record(journal).ok())?;
    for finding in &findings {
        say(finding)?;
    }
    for book in &books {
        say(book)?;
    }
    if not_rebuilt > 0 {
        say(format_args!(
            "{not_rebuilt} records have hours of another time zone database than this program's: signed, but not made again"
        ))?;
    }
    // Rows first: what is found there is told whatever the layout is like.
    let layout = store.audit_layout()?;
    for finding in &layout {
        say(finding)?;
    }
    if findings.is_empty() && layout.is_empty() {
        return say(format_args!("{}: all adds up", store.path().display()));
    }
    bail!("{} findings", findings.len() + layout.len())
}

pub(crate) fn open(config: &Config, role: Role) -> Result<Store> {
    let path = &config.store.db;
    Store::open(path, role).map_err(|error| match error {
        // The others name their file.
        OpenError::Foreign | OpenError::Database(_) => anyhow::Error::new(error).context(path.display().to_string()),
        _ => error.into(),
    })
}

fn commit(store: &Store, write: Write) -> Result<()> {
    match store.commit(Transaction { idempotency: None, writes: vec![write] })? {
        Outcome::Committed => Ok(()),
        Outcome::Refused(Refusal::NameTaken) => bail!("this name is taken"),
        outcome => bail!("the database answered {outcome:?}"),
    }
}

/// 256 random bits as text.
fn secret() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}
