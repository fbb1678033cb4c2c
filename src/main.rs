//! The command line: `lull serve`, `demo`, `bench`, `vendor`, `audit`, `rate`, `simulate`, `sleep`, `verify`, `export`, `keys`, `config`.
//!
//! Everything is composed here and nothing is decided. What goes wrong is one line on standard error and exit status 1.

#[path = "main/bench.rs"]
mod bench;
#[path = "main/demo.rs"]
mod demo;
#[path = "main/descriptors.rs"]
mod descriptors;
#[path = "main/rate.rs"]
mod rate;
#[path = "main/rate_input.rs"]
mod rate_input;
#[path = "main/records.rs"]
mod records;
#[path = "main/serve.rs"]
mod serve;
#[path = "main/simulate.rs"]
mod simulate;
#[path = "main/sleep.rs"]
mod sleep;
#[path = "main/sleep_ogg.rs"]
mod sleep_ogg;
#[path = "main/sleep_picture.rs"]
mod sleep_picture;
#[path = "main/tools.rs"]
mod tools;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use lull::config::{BaseFlags, Config, Flags};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Timed voice and video calls: carried, metered, ended and settled by one binary.
#[derive(Parser)]
#[command(name = "lull", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve calls until SIGTERM or Ctrl-C, which end in order
    Serve {
        #[command(flatten)]
        flags: Flags,
        /// Take new calls although the wall clock is behind what was written before: it is right now, and was not then
        #[arg(long)]
        accept_clock: bool,
    },
    /// Try it: a throw-away database, and links for client, companion and vendor
    Demo {
        #[command(flatten)]
        flags: Flags,
        /// A built-in companion joins, with sound and picture
        #[arg(long)]
        bot: bool,
        /// For phones in the same network: HTTPS with a certificate made on the spot
        #[arg(long)]
        lan: bool,
    },
    /// Measure what this machine carries: calls on loopback until it is full, or as many as asked for
    ///
    /// A media plane and its pages run in this process and speak over 127.0.0.1; nothing is stored and nothing is opened to
    /// the network; with --money the store is measured, on a throw-away database. Shows CPU for each packet sent on, latency from page to page, loss and set-up, and estimates the calls a
    /// core carries. Run it on a machine that does nothing else.
    Bench {
        #[command(flatten)]
        flags: bench::BenchFlags,
    },
    /// Vendors and their ways in; works beside a running server
    Vendor {
        #[command(subcommand)]
        command: tools::VendorCommand,
    },
    /// Check that journal, ledger and records add up; works beside a running server
    Audit {
        #[command(flatten)]
        flags: BaseFlags,
    },
    /// Rate the calls of a file (the schema of fixtures/rating/examples.json); prints one JSON line each
    Rate {
        /// JSON
        file: PathBuf,
    },
    /// Run nights of calls in virtual time, with faults, and check that everything adds up
    ///
    /// The real core and store, people and vendors of chance: legs drop, commands are lost and repeated, the server dies at any
    /// instant. What must hold is checked at every step. A breach prints its seed and what happened before, and exits with 1.
    Simulate {
        #[command(flatten)]
        flags: simulate::SimulateFlags,
    },
    /// Listen to a recording as to a live call, and say when she slept
    ///
    /// Prints a JSON line every 10 seconds and at each change: seconds, state (awake, drowsy, asleep, unknown) and why. docs/ear.md says what
    /// is measured.
    Sleep {
        #[command(flatten)]
        flags: sleep::SleepFlags,
    },
    /// Check that records are what was signed, without a database; each is reported on a line
    Verify {
        #[command(flatten)]
        flags: records::VerifyFlags,
    },
    /// Write a vendor's records of a month to standard output; works beside a running server
    Export {
        #[command(flatten)]
        flags: records::ExportFlags,
    },
    /// The keys that sign records; works beside a running server
    Keys {
        #[command(subcommand)]
        command: records::KeysCommand,
    },
    /// Print the settings in force and where each comes from, without secrets
    Config {
        #[command(flatten)]
        flags: Flags,
    },
}

/// Prints a line; an error if nobody reads any more.
fn say(line: impl Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("standard output")
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { flags, accept_clock } => serve::run(&flags, accept_clock),
        Command::Demo { flags, bot, lan } => demo::run(flags, bot, lan),
        Command::Bench { flags } => bench::run(&flags),
        Command::Vendor { command } => tools::vendor(command),
        Command::Audit { flags } => tools::audit(flags),
        Command::Rate { file } => rate::run(&file),
        Command::Simulate { flags } => simulate::run(&flags),
        Command::Sleep { flags } => sleep::run(&flags),
        Command::Verify { flags } => records::verify(&flags),
        Command::Export { flags } => records::export(flags),
        Command::Keys { command } => records::keys(command),
        Command::Config { flags } => Config::load(&flags).map_err(Into::into).and_then(|config| say(config.effective().trim_end())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}`: the whole chain in one line.
            eprintln!("lull: {error:#}");
            ExitCode::FAILURE
        }
    }
}
