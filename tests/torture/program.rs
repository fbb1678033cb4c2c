//! The program itself on a database of its own: started, killed, asked to audit. It chooses free ports and names them in its log.

use crate::{A_MOMENT, PATIENCE, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// No limit of the door is in the way of these tests, and a party that is gone is noticed soon.
const SETTINGS: &str = "[http]\nlisten = \"127.0.0.1:0\"\n[media]\nlisten = \"127.0.0.1:0\"\ntcp = false\nmax_load_percent = 95\n\
    [signaling]\nip_requests_per_second = 100000\ncaller_requests_per_second = 100000\njoins_per_minute = 1000\n\
    [call]\nmax_open = 100000\nmedia_timeout_s = 1\nquiet_timeout_s = 2\npause_limit_s = 600\n";

/// Where a database and what belongs to it lie.
pub(crate) struct Home {
    folder: PathBuf,
    database: PathBuf,
}

/// A started program. Dropping it kills it.
pub(crate) struct Running {
    process: Child,
    log: PathBuf,
}

/// The program with these arguments and an environment without settings.
fn lull(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lull"));
    command.env_clear().args(arguments);
    command
}

impl Home {
    /// In this folder; there may be a database in it already.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::with_disk(folder, folder)
    }

    /// The database lies on another disk than log and settings.
    pub(crate) fn with_disk(folder: &Path, disk: &Path) -> Self {
        let home = Self { folder: folder.to_owned(), database: disk.join("lull.db") };
        let settings = format!("{SETTINGS}[store]\ndb = \"sqlite:{}\"\n", home.database().display());
        fs::write(home.config(), settings).unwrap();
        home
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    fn config(&self) -> PathBuf {
        self.folder.join("lull.toml")
    }

    /// Starts a server; `name` is that of its log.
    pub(crate) fn start(&self, name: &str) -> Running {
        self.start_by(lull(&["serve", "--config"]), name)
    }

    /// The same after what `sh` is told to do first (which must not contain a single quote).
    pub(crate) fn start_after(&self, first: &str, name: &str) -> Running {
        let mut shell = Command::new("/bin/sh");
        let script = format!("{first}; exec \"$0\" serve --config \"$1\"");
        shell.env_clear().args(["-c", &script]).arg(env!("CARGO_BIN_EXE_lull"));
        self.start_by(shell, name)
    }

    fn start_by(&self, mut command: Command, name: &str) -> Running {
        let path = self.folder.join(name);
        let log = File::create(&path).unwrap();
        command.arg(self.config()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Running { process: command.spawn().unwrap(), log: path }
    }

    /// Runs another command of the program.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        lull(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// A new vendor's API key.
    pub(crate) fn vendor(&self, name: &str) -> String {
        let made = self.tool(&["vendor", "add", name]);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// What `lull audit` says must be that all adds up.
    pub(crate) fn adds_up(&self) {
        let audit = self.tool(&["audit"]);
        let said = String::from_utf8_lossy(&audit.stdout).into_owned();
        assert!(audit.status.success() && said.ends_with(": all adds up\n"), "{said}{}", String::from_utf8_lossy(&audit.stderr));
    }
}

impl Running {
    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// In front of every path, once it serves.
    pub(crate) fn base(&self) -> Option<String> {
        let log = self.log();
        let (_, rest) = log.split_once("lull serves ")?;
        rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
    }

    /// Its end, if it ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Waits until it serves.
    pub(crate) fn serves(&mut self) -> String {
        wait_for("the address in the log", || {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended by itself ({ended:?}):\n{}", self.log());
            self.base()
        })
    }

    /// Waits until it serves, or for its end without having served.
    pub(crate) fn serves_or_ends(&mut self) -> Result<String, ExitStatus> {
        wait_for("the address in the log, or the end", || match (self.ended(), self.base()) {
            (Some(ended), _) => Some(Err(ended)),
            (None, Some(base)) => Some(Ok(base)),
            (None, None) => None,
        })
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("its end", || self.ended())
    }

    /// Whether it serves before `limit` is over; it must not end by itself.
    pub(crate) fn serves_within(&mut self, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit.min(PATIENCE);
        while Instant::now() < until {
            if let Some(base) = self.base() {
                return Some(base);
            }
            std::thread::sleep(A_MOMENT.min(until.saturating_duration_since(Instant::now())));
        }
        None
    }

    /// Ends it without a chance to do anything about it. It must have been running, and never have panicked.
    pub(crate) fn kill(mut self) {
        let ended = self.ended();
        assert!(ended.is_none(), "it ended by itself ({ended:?}):\n{}", self.log());
        self.signal(Signal::SIGKILL);
        self.wait();
        self.did_not_panic();
    }

    /// Asks it to end in order.
    pub(crate) fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let ended = self.wait();
        assert!(ended.success(), "{ended:?}:\n{}", self.log());
        self.did_not_panic();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn did_not_panic(&self) {
        assert!(!self.log().contains("panicked at"), "{}", self.log());
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill(); // It may have ended already.
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of {} ---\n{}--- its end ---", self.log.display(), self.log());
        }
    }
}
