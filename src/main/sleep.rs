//! `lull sleep FILE`: listens to a recording as to a live call and prints when she slept, one JSON line every 10 seconds and at each change.
//!
//! The same features and the same detector as in a call; an Opus file also passes the same listener. No setting alters what is decided.
//! It reads once and from the beginning on, so a pipe will do. Invariant: the recording is never written to.

use super::sleep_ogg;
use super::sleep_picture::{self, Point};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lull::audio::Heard;
use lull::audio::wav::WavFrames;
use lull::call::{sleep_word, why_word};
use lull::clock::{Moment, Span};
use lull::sleep::{Detector, State};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// From line to line, in seconds.
const EACH_S: f64 = 10.0;
/// From point to point of the picture, in seconds.
const POINT_S: f64 = 5.0;

/// What is taken, and how to get it.
const TAKEN: &str = "expected WAV (PCM or float) or Opus in Ogg; others can be made so, as by: ffmpeg -i FILE -ac 1 night.opus";

/// What `lull sleep` takes.
#[derive(Args)]
pub(crate) struct SleepFlags {
    /// WAV (PCM of 8 to 32 bits or float of 32 or 64, 8 to 384 kHz, up to 32 channels) or Opus in Ogg; /dev/stdin for a pipe
    file: PathBuf,
    /// Add what the decision rests on (docs/ear.md explains the names)
    #[arg(long)]
    explain: bool,
    /// Draw the night into an SVG, which may not be the recording itself
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Listens to a file; an error if it cannot be read, and says what could be.
pub(crate) fn run(flags: &SleepFlags) -> Result<()> {
    let name = flags.file.display();
    let file = File::open(&flags.file).with_context(|| format!("cannot read {name}"))?;
    ensure!(!file.metadata().is_ok_and(|about| about.is_dir()), "{name} is a folder: expected a WAV or an Opus file");
    let picture = flags.plot.as_deref().map(|path| Picture::open(path, &file)).transpose()?;
    let mut night = Night::new(flags.explain, picture.is_some());
    listen(BufReader::new(file), &mut night).map_err(|error| if error.is::<Unsaid>() { error } else { error.context(name.to_string()) })?;
    night.end()?;
    picture.map_or(Ok(()), |picture| picture.draw(&night.points))
}

fn listen(mut file: impl Read, night: &mut Night) -> Result<()> {
    let mut first = Vec::new();
    file.by_ref().take(4).read_to_end(&mut first).context("cannot be read")?;
    let whole = first.as_slice().chain(file);
    match first.as_slice() {
        b"" => bail!("the file is empty: {TAKEN}"),
        b"OggS" => sleep_ogg::listen(whole, Night::BEGINS, &mut |at, heard| night.hear(at, heard)),
        // The last two are refused with a reason of their own.
        b"RIFF" | b"RF64" | b"BW64" | b"RIFX" | b"riff" => wav(whole, night),
        _ => bail!("neither WAV nor Ogg: {TAKEN}"),
    }
}

/// Where the night is drawn: opened before anything is heard, so that it is known to be possible, and written to at the end.
struct Picture<'a> {
    path: &'a Path,
    file: File,
    /// It was not there before, and nothing stands in it yet.
    is_new: bool,
}

impl<'a> Picture<'a> {
    /// Refuses the recording itself, by whatever name.
    fn open(path: &'a Path, recording: &File) -> Result<Self> {
        let name = path.display();
        let is_new = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let picture = Self { path, file: file.with_context(|| format!("cannot write {name}"))?, is_new };
        let place = |file: &File| file.metadata().map(|about| (about.dev(), about.ino()));
        ensure!(place(&picture.file)? != place(recording)?, "{name} is the recording: expected another file for the picture");
        Ok(picture)
    }

    fn draw(mut self, points: &[Point]) -> Result<()> {
        let svg = sleep_picture::svg(points)?;
        let name = self.path.display();
        // A pipe has no length.
        if self.file.metadata().is_ok_and(|about| about.is_file()) {
            self.file.set_len(0).with_context(|| format!("cannot write {name}"))?;
        }
        self.file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {name}"))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for Picture<'_> {
    /// Nothing was drawn: nothing is left.
    fn drop(&mut self) {
        if !self.is_new {
            return;
        }
        // Not a link that names it.
        if let Err(error) = self.path.canonicalize().and_then(std::fs::remove_file) {
            eprintln!("lull: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Lines cannot be written.
#[derive(Debug, Error)]
#[error("cannot write to standard output: {0}")]
struct Unsaid(std::io::Error);

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

/// What was heard so far.
struct Night {
    detector: Detector,
    explains: bool,
    /// Somebody waits for it to be drawn, also when nobody reads.
    is_drawn: bool,
    is_read: bool,
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

    fn new(explains: bool, is_drawn: bool) -> Self {
        Self {
            detector: Detector::new(Self::BEGINS),
            explains,
            is_drawn,
            is_read: true,
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
        if !self.is_read {
            return Ok(());
        }
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
            Err(error) if error.kind() == ErrorKind::BrokenPipe && !self.is_drawn => std::process::exit(0),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_read = false,
            other => other.map_err(Unsaid)?,
        }
        Ok(())
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
