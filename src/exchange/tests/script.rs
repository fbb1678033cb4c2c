//! Runs a call that is written as text. The grammar is in `fixtures/calls/README.md`.

use super::booking::terms_of;
use super::{BOOKED, Books, call_id, cny, hold_id};
use crate::call::{
    Answered, Asker, Audio, Call, Cue, Event, Fact, Journal, Notice, Quality, Refused, RequestId, Side, State, sleep_word, why_word,
};
use crate::clock::{Moment, Span};
use crate::exchange::{Effect, Exchange, SettleOrder, book, receipt};
use crate::ids::{BootId, GiftId, HoldId, LegId, TokenId};
use crate::money::Money;
use crate::sleep::{self, Grounds, Verdict, Why};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) type Outcome<T> = Result<T, String>;

/// Runs a script and returns it with the lines below its commands as they came out.
pub(super) fn run(text: &str) -> Outcome<String> {
    let mut stage: Option<Stage> = None;
    let mut ran = String::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("  ")) {
        ran.push_str(line);
        ran.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |error: String| format!("line {}: {error}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = match (&mut stage, words.as_slice()) {
            (None, ["book", settings @ ..]) => {
                stage = Some(Stage::book(settings).map_err(fail)?);
                Vec::new()
            }
            (Some(stage), [at, "late", command @ ..]) => moment(at).and_then(|at| stage.command(at, command)).map_err(fail)?,
            (Some(stage), [at, command @ ..]) => moment(at).and_then(|at| stage.on_time(at, command)).map_err(fail)?,
            (None, _) | (Some(_), []) => return Err(fail("a script begins with `book`".into())),
        };
        for line in said {
            ran.push_str(&format!("  {line}\n"));
        }
    }
    Ok(ran)
}

struct Stage {
    exchange: Exchange,
    books: Books,
    /// Names of legs and holds in the script.
    legs: BTreeMap<String, LegId>,
    holds: Vec<String>,
    requests: u64,
}

impl Stage {
    fn book(settings: &[&str]) -> Outcome<Stage> {
        let (call, created) = book(call_id(), terms_of(settings)?, hold_id(1), BOOKED).map_err(|error| error.to_string())?;
        let mut exchange = Exchange::new();
        exchange.insert(call);
        Ok(Stage { exchange, books: Books::new(created), legs: BTreeMap::new(), holds: vec!["h1".into()], requests: 0 })
    }

    /// Wakes the exchange at every due moment until the command's, then gives the command.
    fn on_time(&mut self, at: Moment, command: &[&str]) -> Outcome<Vec<String>> {
        let mut said = Vec::new();
        // A server that is down or asleep wakes for nothing.
        let was_away = matches!(command, ["server", "recovers", ..] | ["machine", "slept", ..]);
        while let Some(due) = self.exchange.poll_timeout().filter(|due| *due <= at && !was_away) {
            let mut out = Vec::new();
            self.exchange.handle_timeout(due, &mut out);
            said.extend(self.report(&out, at));
        }
        said.extend(self.command(at, command)?);
        Ok(said)
    }

    fn command(&mut self, at: Moment, command: &[&str]) -> Outcome<Vec<String>> {
        match command {
            ["wait"] => {
                let mut out = Vec::new();
                self.exchange.handle_timeout(at, &mut out);
                return Ok(self.report(&out, at));
            }
            ["both", "arrive"] => {
                let mut said = Vec::new();
                for line in [
                    "client joins c1",
                    "client connects c1",
                    "companion joins p1",
                    "companion connects p1",
                    "companion heard",
                    "client heard",
                ] {
                    said = self.command(at, &line.split(' ').collect::<Vec<_>>())?;
                }
                return Ok(said);
            }
            ["view"] => return Ok(vec![self.view(at)?]),
            ["record"] => return fields(&self.settled()?.record),
            ["receipt"] => {
                let journal = Journal { call: call_id(), entries: self.books.entries.clone() };
                return fields(&receipt(&journal).map_err(|error| error.to_string())?);
            }
            ["server", "recovers", proved @ ..] => {
                let proved = match proved {
                    ["proved", at] => Some(moment(at)?),
                    _ => None,
                };
                let journal = Journal { call: call_id(), entries: self.books.entries.clone() };
                self.exchange = Exchange::new();
                let mut out = Vec::new();
                let boot = BootId::new(Uuid::from_u128(0xb007));
                self.exchange.recover(&journal, proved, boot, at, &mut out).map_err(|error| error.to_string())?;
                return Ok(self.report(&out, at));
            }
            ["machine", "slept", "since", since] => {
                let mut out = Vec::new();
                self.exchange.suspend(moment(since)?, at, &mut out);
                return Ok(self.report(&out, at));
            }
            ["proof", seen @ ..] => return Ok(vec![self.proof(seen, at)?]),
            ["server", "restarts"] => {
                let journal = Journal { call: call_id(), entries: self.books.entries.clone() };
                self.exchange = Exchange::new();
                self.exchange.insert(Call::replay(&journal).map_err(|error| error.to_string())?);
                return Ok(Vec::new());
            }
            _ => {}
        }
        let event = self.event(at, command)?;
        let mut out = Vec::new();
        self.exchange.handle(call_id(), event, at, &mut out);
        Ok(self.report(&out, at))
    }

    fn event(&mut self, at: Moment, command: &[&str]) -> Outcome<Event> {
        let event = match command {
            ["reserved", hold] => Event::Reserved { hold: self.hold(hold) },
            ["not", "reserved", hold, "funds", amount] => {
                let available = Money::new(number(amount)?, cny());
                Event::NotReserved { hold: self.hold(hold), why: Refused::Funds { available } }
            }
            ["vendor", "withdraws", side] => {
                let token = TokenId::new(Uuid::from_u128(0xf00d));
                Event::LinkAsked { side: side.parse().map_err(|error| format!("{error}"))?, token, request: self.request() }
            }
            ["ear", state, why, "since", since] => {
                let verdict = Verdict { state: sleep_of(state)?, since: moment(since)?, grounds: grounds(why_of(why)?) };
                Event::Ear { verdict }
            }
            ["client", "speaks"] => Event::Spoke { at },
            ["client", "spoke", "at", at] => Event::Spoke { at: moment(at)? },
            ["client", "taps"] => Event::ImHere,
            ["companion", "says", "asleep"] => Event::SaysAsleep,
            ["companion", "says", "awake"] => Event::SaysAwake,
            ["vendor", "ends"] => Event::VendorEnds { request: self.request() },
            ["recording", part, "fails", why] => {
                let part = part.parse().map_err(|error| format!("{error}"))?;
                Event::RecordingFailed { part, why: why.parse().map_err(|error| format!("{error}"))? }
            }
            ["abuse", "reported"] => Event::AbuseReported,
            ["server", "stops"] => Event::ServerStops,
            ["lease", "lapses", "proved", proved] => Event::LeaseLapsed { proved: moment(proved)? },
            [by, "extends", hold] => {
                Event::ExtendAsked { by: asker(by)?, hold: self.hold(hold), amount: None, order_ref: None, request: self.request() }
            }
            [by, "extends", hold, "by", amount] => {
                let amount = Some(Money::new(number(amount)?, cny()));
                Event::ExtendAsked { by: asker(by)?, hold: self.hold(hold), amount, order_ref: None, request: self.request() }
            }
            [by, "extends", hold, "order", order] => Event::ExtendAsked {
                by: asker(by)?,
                hold: self.hold(hold),
                amount: None,
                order_ref: Some((*order).into()),
                request: self.request(),
            },
            [by, "gives", time] => Event::GiftAsked { by: asker(by)?, length: length(time)?, gift: None, request: self.request() },
            [by, "gives", time, "as", name] => {
                let gift = name.strip_prefix('g').map(number).ok_or("a gift is called g and a number")??;
                let gift = Some(GiftId::new(Uuid::from_u128(0x61f7_0000 + u128::from(gift.unsigned_abs()))));
                Event::GiftAsked { by: asker(by)?, length: length(time)?, gift, request: self.request() }
            }
            [side, rest @ ..] => {
                let side = side.parse::<Side>().map_err(|error| error.to_string())?;
                match rest {
                    ["joins", leg] => Event::Joined { side, leg: self.leg(leg) },
                    ["connects", leg] => Event::Connected { side, leg: self.leg(leg), at },
                    ["heard"] => Event::AudioReached { from: side, at },
                    ["lost", leg, "since", since] => Event::Lost { side, leg: self.leg(leg), since: moment(since)? },
                    ["hushed", leg, "since", since] => Event::Hushed { side, leg: self.leg(leg), since: moment(since)? },
                    ["falters", leg, "since", since] => Event::Faltered { side, leg: self.leg(leg), since: moment(since)? },
                    ["steadies", leg] => Event::Steadied { side, leg: self.leg(leg), at },
                    ["back", leg] => Event::Back { side, leg: self.leg(leg), at },
                    ["failed", leg] => Event::Failed { side, leg: self.leg(leg) },
                    ["allows", "recording"] => Event::Consents { side, yes: true },
                    ["forbids", "recording"] => Event::Consents { side, yes: false },
                    ["hangs", "up"] => Event::HangUp { side },
                    ["measured", packets, "packets", lost, "lost"] => {
                        let (packets, lost_bp) = (number(packets)?.unsigned_abs(), u32::try_from(number(lost)?).unwrap_or(0));
                        Event::Measured { side, quality: Quality { packets, lost_bp, rtt_ms: None } }
                    }
                    _ => return Err(format!("unknown command {}", command.join(" "))),
                }
            }
            [] => return Err("no command".into()),
        };
        Ok(event)
    }

    /// `client TIME companion TIME`: when each was seen last.
    fn proof(&self, seen: &[&str], now: Moment) -> Outcome<String> {
        let ["client", client, "companion", companion] = seen else { return Err("expected when each side was seen".into()) };
        let seen = [moment(client)?, moment(companion)?];
        let call = self.exchange.call(call_id()).ok_or("the call is gone")?;
        Ok(match call.proof(|side, _| Some(seen[side as usize]), now) {
            Some(proof) => format!("proved until {}, {} delivered", offset(proof.until), seconds(proof.delivered)),
            None => "nothing to prove".into(),
        })
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn leg(&mut self, name: &str) -> LegId {
        let next = LegId::new(Uuid::from_u128(0x1e6_0000 + self.legs.len() as u128));
        *self.legs.entry(name.to_owned()).or_insert(next)
    }

    fn hold(&mut self, name: &str) -> HoldId {
        let index = self.holds.iter().position(|known| known == name).unwrap_or_else(|| {
            self.holds.push(name.to_owned());
            self.holds.len() - 1
        });
        hold_id(index as u128 + 1)
    }

    fn leg_name(&self, leg: LegId) -> &str {
        self.legs.iter().find(|(_, known)| **known == leg).map_or("?", |(name, _)| name)
    }

    fn hold_name(&self, hold: HoldId) -> &str {
        self.holds.iter().enumerate().find(|(index, _)| hold_id(*index as u128 + 1) == hold).map_or("?", |(_, name)| name)
    }

    fn settled(&self) -> Outcome<&SettleOrder> {
        self.books.settle.as_ref().ok_or_else(|| "the call is not settled".to_owned())
    }

    /// Checks the step and says it in words; `at` is the present, other moments are spelled out.
    fn report(&mut self, effects: &[Effect], at: Moment) -> Vec<String> {
        self.books.check(&self.exchange, effects);
        let mut said = Vec::new();
        for effect in effects {
            match effect {
                Effect::StopMedia { .. } => said.push("stop media".into()),
                Effect::Audio { audio, .. } => said.push(audio_words(audio)),
                Effect::Record { entries, settle, requests, .. } => {
                    for entry in entries {
                        let when = if entry.at == at { String::new() } else { format!(" as of {}", offset(entry.at)) };
                        said.push(format!("book {}{when}", self.fact(&entry.fact)));
                    }
                    for request in requests {
                        said.push(format!("with the reply to {}", request.0));
                    }
                    if let Some(order) = settle {
                        let captures = order.captures.iter().map(|(hold, amount)| format!("{amount} of {}", self.hold_name(*hold)));
                        let captures = captures.collect::<Vec<_>>().join(", ");
                        said.push(format!("take {captures}; companion {}, vendor {}", order.companion_share, order.vendor_share));
                    }
                }
                Effect::Reserve { hold, amount, order_ref, .. } => {
                    let order = order_ref.as_ref().map(|order| format!(", credited by {order}")).unwrap_or_default();
                    said.push(format!("reserve {}: {amount:?}{order}", self.hold_name(*hold)));
                }
                Effect::Tell { to, notice, .. } => {
                    said.push(format!("tell {}: {}", to.map_or("both", Side::name), notice_words(notice)));
                }
                Effect::Answer { request, result } => {
                    let result = match result {
                        Ok(Answered::Extended) => "extended".to_owned(),
                        Ok(Answered::Gifted) => "gifted".to_owned(),
                        Ok(Answered::LinkRenewed) => "link renewed".to_owned(),
                        Ok(Answered::Ended) => "ended".to_owned(),
                        Err(why) => format!("refused, {why}"),
                    };
                    said.push(format!("answer {}: {result}", request.0));
                }
            }
        }
        said
    }

    fn fact(&self, fact: &Fact) -> String {
        match fact {
            Fact::Created { .. } => "created".into(),
            Fact::Joined { side, leg } => format!("joined {side} {}", self.leg_name(*leg)),
            Fact::Connected { side, leg } => format!("connected {side} {}", self.leg_name(*leg)),
            Fact::Heard { from } => format!("heard {from}"),
            Fact::Lost { side, leg, since } => format!("lost {side} {} since {}", self.leg_name(*leg), offset(*since)),
            Fact::Back { side, leg } => format!("back {side} {}", self.leg_name(*leg)),
            Fact::Started => "started".into(),
            Fact::Paused { cause, since } => format!("paused by {cause} since {}", offset(*since)),
            Fact::Resumed => "resumed".into(),
            Fact::Warned { left } => format!("warned {} s", left.whole_s()),
            Fact::Extended { by, hold, order_ref, amount } => {
                let order = order_ref.as_ref().map(|order| format!(", order {order}")).unwrap_or_default();
                let amount = amount.map(|amount| format!(", {amount:?}")).unwrap_or_default();
                format!("extended by {by}, {}{amount}{order}", self.hold_name(*hold))
            }
            Fact::Gifted { by, length, .. } => format!("gifted by {by}, {} s", length.whole_s()),
            Fact::LinkRenewed { side, .. } => format!("link renewed of {side}"),
            Fact::Recovered { proved_until, .. } => format!("recovered, proved until {}", offset(*proved_until)),
            Fact::Suspended { since } => format!("slept since {}", offset(*since)),
            Fact::Sleep { verdict } => {
                format!("{}, {}, since {}", sleep_word(verdict.state), why_word(verdict.grounds.why), offset(verdict.since))
            }
            Fact::Lingers { by, length, .. } => format!("lingers by {by}, {}", seconds(*length)),
            Fact::Lands { confirmed } => (if *confirmed { "lands, confirmed" } else { "lands" }).into(),
            Fact::Woken { by } => format!("woken by {by}"),
            Fact::Consented { side, yes } => format!("{side} {} recording", if *yes { "allows" } else { "forbids" }),
            Fact::RecordingStarted { part } => format!("recording {part} started"),
            Fact::RecordingStopped { part, why } => format!("recording {part} stopped, {why}"),
            Fact::Quality { side, quality } => format!("quality {side} {} packets {} lost", quality.packets, quality.lost_bp),
            Fact::Ended { reason, at_fault } => format!("ended {reason}, at fault {at_fault}"),
            Fact::Settled { charge, refund } => format!("settled, charge {charge:?}, refund {refund:?}"),
        }
    }

    fn view(&self, at: Moment) -> Outcome<String> {
        let view = self.exchange.view(call_id(), at).ok_or("the call is gone")?;
        let clock = |name: &str, at: Option<Moment>| at.map_or(String::new(), |at| format!(", {name} {}", offset(at)));
        let why = match view.state {
            State::Paused { cause, since, .. } => format!(" by {cause} since {}", offset(since)),
            State::Landing { since, .. } => format!(" since {}", offset(since)),
            State::Connecting | State::Live { .. } | State::Ended { .. } | State::Settled { .. } => String::new(),
        };
        let night = view.night.map_or(String::new(), |night| {
            let sleep = night.verdict.map_or("unknown", |verdict| sleep_word(verdict.state));
            let suggests = if night.wants_a_word { ", say something" } else { "" };
            let until = night.ends_at.map_or(String::new(), |at| format!(" until {}", offset(at)));
            format!(", {}{until} {sleep}{suggests}", night.phase)
        });
        let spent = match view.rate {
            Some((label, rate)) => format!(", spent {} of {}, {label} {}", view.spent.amount, view.held.amount, rate.amount),
            None => String::new(),
        };
        let there = |side: Side| format!("{side} {}", if view.presence(side).connected { "there" } else { "away" });
        Ok(format!(
            "{}{why}: delivered {}, left {}{}{}{spent}{night}, {}, {}",
            view.state.name(),
            seconds(view.delivered),
            seconds(view.remaining),
            clock("ends", view.ends_at),
            clock("gives up", view.gives_up_at),
            there(Side::Client),
            there(Side::Companion)
        ))
    }
}

fn audio_words(audio: &Audio) -> String {
    match audio {
        Audio::Listen => "listen".into(),
        Audio::Deaf => "listen no longer".into(),
        Audio::Fade { length } => format!("fade the companion within {}", seconds(*length)),
        Audio::Unfade => "unfade the companion".into(),
        Audio::Play { to, cue } => match cue {
            Cue::Chime { dbfs } => format!("play {to}: chime at {dbfs} dBFS"),
            Cue::Extended { dbfs } => format!("play {to}: extended at {dbfs} dBFS"),
            Cue::Waiting { on } => format!("play {to}: waiting {}", if *on { "on" } else { "off" }),
            Cue::Probe => format!("play {to}: probe"),
        },
    }
}

fn notice_words(notice: &Notice) -> String {
    match notice {
        Notice::Changed => "changed".into(),
        Notice::Started => "started".into(),
        Notice::Warning { left } => format!("{} s left", left.whole_s()),
        Notice::Extended { by, .. } => format!("extended by {by}"),
        Notice::Gifted { by, length } => format!("{} s given by {by}", length.whole_s()),
        Notice::Paused { cause } => format!("paused by {cause}"),
        Notice::Resumed => "resumed".into(),
        Notice::Ended { reason, at_fault } => format!("ended {reason}, at fault {at_fault}"),
    }
}

/// One line for each field of a JSON object.
fn fields(text: &str) -> Outcome<Vec<String>> {
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(object.iter().map(|(key, value)| format!("{key}: {value}")).collect())
}

fn sleep_of(text: &str) -> Outcome<sleep::State> {
    let all = [sleep::State::Awake, sleep::State::Drowsy, sleep::State::Asleep, sleep::State::Unknown];
    all.into_iter().find(|state| sleep_word(*state) == text).ok_or_else(|| format!("nobody is {text}"))
}

fn why_of(text: &str) -> Outcome<Why> {
    let all = [
        Why::Starting,
        Why::Speech,
        Why::Movement,
        Why::Tap,
        Why::Quiet,
        Why::Breathing,
        Why::Muted,
        Why::Absent,
        Why::Lost,
        Why::Companion,
    ];
    all.into_iter().find(|why| why_word(*why) == text).ok_or_else(|| format!("no ear says {text}"))
}

/// Some grounds, the same each time.
fn grounds(why: Why) -> Grounds {
    let period_ms = (why == Why::Breathing).then_some(4200);
    Grounds { why, evidence_milli: 1100, period_ms, constancy_bp: 9400, quiet_s: 1500, movements: 1, missing_bp: 20, unanswered: 2 }
}

fn asker(text: &str) -> Outcome<Asker> {
    text.parse().map_err(|_| format!("nobody is called {text}"))
}

pub(super) fn number(text: &str) -> Outcome<i64> {
    text.parse().map_err(|_| format!("expected a number, not {text}"))
}

/// `90s`, `15min`, `12h`, `250ms`.
pub(super) fn length(text: &str) -> Outcome<Span> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count = number(&text[..digits])?;
    match &text[digits..] {
        "ms" => Ok(Span::from_ms(count)),
        "s" => Ok(Span::from_s(count)),
        "min" => Ok(Span::from_s(count * 60)),
        "h" => Ok(Span::from_s(count * 3600)),
        unit => Err(format!("unknown unit {unit}")),
    }
}

/// `M:SS`, `M:SS.mmm`, `H:MM:SS`: from the booking.
fn moment(text: &str) -> Outcome<Moment> {
    let (clock, ms) = text.split_once('.').unwrap_or((text, "0"));
    if !clock.contains(':') {
        return Err(format!("expected a time like 1:30, not {text}"));
    }
    let mut seconds = 0;
    for part in clock.split(':') {
        seconds = seconds * 60 + number(part)?;
    }
    Ok(BOOKED + Span::from_ms(seconds * 1000 + number(&format!("{ms:0<3}"))?))
}

fn offset(at: Moment) -> String {
    let ms = at.unix_ms() - BOOKED.unix_ms();
    let (s, ms) = (ms / 1000, ms % 1000);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    match s / 3600 {
        0 => format!("{}:{:02}{fraction}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}{fraction}", s / 60 % 60, s % 60),
    }
}

fn seconds(span: Span) -> String {
    match span.ms() % 1000 {
        0 => format!("{} s", span.whole_s()),
        ms => format!("{}.{ms:03} s", span.whole_s()),
    }
}
