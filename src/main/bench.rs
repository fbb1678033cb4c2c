//! `lull bench`: tells an operator what his machine carries.

use anyhow::{Result, bail};
use clap::Args;
use lull::bench::{MoneyReport, MoneySettings, Report, Settings, Step, Verdict, run as measure, run_money};
use std::path::PathBuf;
use std::time::Duration;

/// Steps without `--calls`: each twice the last, from this many.
const FIRST_STEP: usize = 50;
/// More than this needs more ports than loopback has.
const MOST_CALLS: usize = 10_000;

#[derive(Args)]
pub(crate) struct BenchFlags {
    /// Measure so many calls instead of 50, 100, 200, … until it no longer holds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_CALLS as u64))]
    calls: Option<u64>,
    /// Seconds to measure each step
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Video beside the voice, in kbit/s each way
    #[arg(long, value_name = "KBPS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=5000))]
    video: u32,
    /// Threads that carry media, as `media.shards`; as many more drive the pages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    shards: u64,
    /// The most calls to step up to
    #[arg(long, value_name = "N", default_value_t = 3200, conflicts_with = "calls",
        value_parser = clap::value_parser!(u64).range(FIRST_STEP as u64..=MOST_CALLS as u64))]
    most: u64,
    /// Measure the store instead: money commands beside live calls (10,000 without --calls) that prove life every 5 s
    #[arg(long, conflicts_with_all = ["video", "shards", "most"])]
    money: bool,
    /// Money commands a second
    #[arg(long, value_name = "N", default_value_t = 100, requires = "money", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    commands: u32,
    /// Where the throw-away database lies, so that the disk in question is measured [default: here]
    #[arg(long, value_name = "PATH", requires = "money")]
    folder: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// How often a live call proves life.
const BEAT: Duration = Duration::from_secs(5);

fn money(flags: &BenchFlags) -> Result<()> {
    let settings = MoneySettings {
        calls: flags.calls.map_or(MOST_CALLS, |calls| calls as usize),
        beat: BEAT,
        commands_per_second: flags.commands,
        length: Duration::from_secs(flags.seconds),
        folder: flags.folder.clone().unwrap_or_else(|| PathBuf::from(".")),
    };
    let report = run_money(&settings)?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    let MoneyReport { calls, seconds, commands, command_p50_ms, command_p99_ms, command_max_ms, beats, kept_up, cores, .. } = report;
    println!(
        "{calls} live calls that prove life every {} s, {} money commands a second, for {seconds:.0} s:",
        BEAT.as_secs(),
        flags.commands
    );
    println!(
        "{commands} commands were on disk after {command_p50_ms:.1} ms (p50), {command_p99_ms:.1} ms (p99), {command_max_ms:.1} ms (max)."
    );
    println!("{beats} proofs of life, {:.1} % of them in time; {:.1} % of a core in all.", kept_up * 100.0, cores * 100.0);
    println!("The disk itself keeps 4 KiB in {:.1} ms (p50), {:.1} ms (p99).", report.disk_p50_ms, report.disk_p99_ms);
    Ok(())
}

pub(crate) fn run(flags: &BenchFlags) -> Result<()> {
    if flags.money {
        return money(flags);
    }
    let steps = match flags.calls {
        Some(calls) => vec![calls as usize],
        None => std::iter::successors(Some(FIRST_STEP), |calls| Some(calls * 2)).take_while(|calls| *calls as u64 <= flags.most).collect(),
    };
    let length = Duration::from_secs(flags.seconds);
    let settings = Settings { steps, length, video_kbps: flags.video, shards: flags.shards as usize };
    if !flags.json {
        println!("{:>6} {:>9} {:>6} {:>9} {:>6} {:>19} {:>15} {:>8}", "", "", "", "CPU/packet", "", "latency ms", "set-up ms", "");
        println!(
            "{:>6} {:>9} {:>6} {:>9} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>8}",
            "calls", "packets", "lost", "µs", "cores", "p50", "p99", "max", "p50", "p99", "verdict"
        );
    }
    let report = measure(&settings, |step| {
        if !flags.json {
            print_row(step);
        }
    })?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_summary(&report);
    }
    match report.steps.last() {
        Some(step) if flags.calls.is_some() && step.verdict == Verdict::CrowdFull => bail!("nothing was found out: {}", says(step)),
        Some(step) if flags.calls.is_some() && step.verdict != Verdict::Held => bail!("{} calls were too many: {}", step.calls, says(step)),
        _ => Ok(()),
    }
}

fn print_row(step: &Step) {
    println!(
        "{:>6} {:>9} {:>6} {:>9.1} {:>6.2} {:>6.2} {:>6.2} {:>6.1} {:>7.1} {:>7.1} {:>8}",
        step.calls,
        step.sent,
        step.lost,
        step.cpu_us_per_packet,
        step.cores,
        step.latency_p50_ms,
        step.latency_p99_ms,
        step.latency_max_ms,
        step.set_up_p50_ms,
        step.set_up_p99_ms,
        match step.verdict {
            Verdict::Held => "held",
            Verdict::Lost => "lost",
            Verdict::Late => "late",
            Verdict::Refused => "refused",
            Verdict::CrowdFull => "too busy",
        },
    );
}

fn says(step: &Step) -> &'static str {
    match step.verdict {
        Verdict::Held => "they held",
        Verdict::Lost => "more than one packet in a thousand was lost",
        Verdict::Late => "more than one packet in a hundred took longer than 20 ms",
        Verdict::Refused => "not all pages could join",
        Verdict::CrowdFull => {
            "the pages themselves could not send in time, so the server's own limit is not known; they need cores beside the server's"
        }
    }
}

fn print_summary(report: &Report) {
    println!();
    if let Some(step) = report.steps.last() {
        println!("At {} calls: {}.", step.calls, says(step));
        println!("Memory for each call with both its pages: {} KB.", step.memory_per_call_with_pages_bytes / 1024);
    }
    match report.calls_per_core {
        Some(calls) => println!("A core of this machine carries about {calls} calls at 70 % of its time."),
        None => println!("No step held, so there is no estimate."),
    }
    println!("Pages and server shared this machine, on loopback; a network card's interrupts come on top.");
}
