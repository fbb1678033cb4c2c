//! `lull sleep FILE`: listens to a recording as to a live call and prints when she slept, one JSON line every 10 seconds and at each change.
//!
//! The same features and the same detector as in a call; an Opus file also passes the same listener. No setting alters what is decided.

use super::sleep_ogg;
use super::sleep_picture::{self, Point};
use anyhow::{Context, Result, ensure};
use clap::Args;
use lull::audio::Heard;
use lull::audio::wav::WavFrames;
use lull::call::{sleep_word, why_word};
use lull::clock::{Moment, Span};
use lull::sleep::{Detector, State};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// From line to line, in seconds.
const EACH_S: f64 = 10.0;
/// From point to point of the picture, in seconds.
const POINT_S: f64 = 5.0;

/// What `lull sleep` takes.
#[derive(Args)]
pub(crate) struct SleepFlags {
    /// WAV (any rate from 8 kHz, width and number of channels) or Opus in Ogg
    file: PathBuf,
    /// Add what the decision rests on
    #[arg(long)]
    explain: bool,
    /// Draw the night into an SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Listens to a file; an error if it cannot be read, and says what could be.
pub(crate) fn run(flags: &SleepFlags) -> Result<()> {
    let name = flags.file.display();
    let mut file = File::open(&flags.file).with_context(|| format!("cannot read {name}"))?;
    ensure!(!file.metadata().is_ok_and(|about| about.is_dir()), "{name} is a folder: expected a WAV or an Opus file");
    let mut first = [0u8; 4];
    let mut known = 0;
    while known < first.len() {
        match file.read(&mut first[known..]).with_context(|| format!("cannot read {name}"))? {
            0 => break,
            count => known += count,
        }
    }
    file.rewind().with_context(|| format!("cannot read {name} twice"))?;
    let mut night = Night::new(flags.explain);
    let file = BufReader::new(file);
    if &first == b"OggS" { ogg(file, &mut night) } else { wav(file, &mut night) }.with_context(|| format!("{name}"))?;
    night.end()?;
    if let Some(path) = &flags.plot {
        draw(path, &night.points)?;
    }
    Ok(())
}

fn draw(path: &Path, points: &[Point]) -> Result<()> {
    std::fs::write(path, sleep_picture::svg(points)?).with_context(|| format!("cannot write {}", path.display()))
}

fn wav(file: impl Read, night: &mut Night) -> Result<()> {
    let mut frames = WavFrames::open(file)?;
    let mut at = Night::BEGINS;
    while let Some(frame) = frames.next_frame()? {
        night.hear(at, Heard::Sound(&frame))?;
        at = at + Span::from_ms(20);
    }
    if frames.is_cut_short() {
        eprintln!("lull: the file ends before its header says it does; what there is was heard");
    }
    Ok(())
}

fn ogg(file: impl Read + Seek, night: &mut Night) -> Result<()> {
    sleep_ogg::listen(file, Night::BEGINS, &mut |at, heard| night.hear(at, heard))
}

/// What was heard so far.
struct Night {
    detector: Detector,
    explains: bool,
    said: Option<State>,
    next_line_s: f64,
    next_point_s: f64,
    spoke: bool,
    /// The loudest and the quietest since the last point, in dB.
    level_db: (f32, f32),
    points: Vec<Point>,
    last_s: f64,
    out: std::io::StdoutLock<'static>,
}

impl Night {
    /// Any moment would do.
    const BEGINS: Moment = Moment::from_unix_ms(0);
    /// No level yet.
    const NOTHING: (f32, f32) = (f32::MIN, f32::MAX);

    fn new(explains: bool) -> Self {
        Self {
            detector: Detector::new(Self::BEGINS),
            explains,
            said: None,
            next_line_s: 0.0,
            next_point_s: 0.0,
            spoke: false,
            level_db: Self::NOTHING,
            points: Vec::new(),
            last_s: 0.0,
            out: std::io::stdout().lock(),
        }
    }

    fn hear(&mut self, at: Moment, heard: Heard<'_>) -> Result<()> {
        self.detector.hear(at, heard);
        let time = at.since(Self::BEGINS).ms() as f64 / 1000.0;
        self.last_s = time;
        self.spoke |= self.detector.speaks();
        let level = self.detector.seen().level;
        self.level_db = (self.level_db.0.max(level), self.level_db.1.min(level));
        let state = self.detector.verdict().state;
        if time >= self.next_line_s || self.said != Some(state) {
            while self.next_line_s <= time {
                self.next_line_s += EACH_S;
            }
            self.say(time)?;
        }
        if time >= self.next_point_s {
            while self.next_point_s <= time {
                self.next_point_s += POINT_S;
            }
            self.points.push(self.point(time));
            (self.spoke, self.level_db) = (false, Self::NOTHING);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.say(self.last_s)?;
        Ok(())
    }

    fn say(&mut self, time: f64) -> Result<()> {
        let verdict = self.detector.verdict();
        self.said = Some(verdict.state);
        let mut line =
            json!({"t": (time * 100.0).round() / 100.0, "state": sleep_word(verdict.state), "why": why_word(verdict.grounds.why)});
        if self.explains {
            let (grounds, seen) = (verdict.grounds, self.detector.seen());
            let cut = |value: f32| (f64::from(value) * 1000.0).round() / 1000.0;
            line["since"] = json!(verdict.since.since(Self::BEGINS).ms() as f64 / 1000.0);
            line["evidence"] = json!(f64::from(grounds.evidence_milli) / 1000.0);
            line["period_s"] = json!(grounds.period_ms.map(|period| f64::from(period) / 1000.0));
            line["pace"] = json!(cut(seen.pace));
            line["pace_awake"] = json!(cut(seen.baseline));
            line["steadiness"] = json!(cut(seen.steadiness));
            line["echo"] = json!(cut(seen.echo));
            line["level_db"] = json!((f64::from(seen.level) * 10.0).round() / 10.0);
            line["quiet_s"] = json!(grounds.quiet_s);
            line["movements"] = json!(grounds.movements);
            line["missing"] = json!(f64::from(grounds.missing_bp) / 10_000.0);
        }
        match writeln!(self.out, "{line}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }

    fn point(&self, time: f64) -> Point {
        let (verdict, seen) = (self.detector.verdict(), self.detector.seen());
        Point {
            minutes: time / 60.0,
            level_db: (f64::from(self.level_db.0), f64::from(self.level_db.1)),
            period_s: verdict.grounds.period_ms.map(|period| f64::from(period) / 1000.0),
            pace: f64::from(seen.pace),
            pace_awake: f64::from(seen.baseline),
            evidence: f64::from(verdict.grounds.evidence_milli) / 1000.0,
            spoke: self.spoke,
            state: verdict.state,
        }
    }
}
