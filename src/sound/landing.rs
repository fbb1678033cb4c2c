//! One landing: the companion's voice is taken off the wire, faded, and given back.
//!
//! The codecs run along at full level before the switch and after it, so that neither is heard. Packets that the media plane holds back
//! come out of the fader or not at all. Invariant: the fade begins with the first held packet, and a cancelled one ends only where the
//! gain is full again.

use crate::audio::{AudioError, FLOOR_DB, Fader, Packet};
use crate::clock::{Moment, Span};
use crate::media::{Purpose, Tapped};

/// So long the codecs may warm up: with DTX ten packets take their time.
const WARM_UP: Span = Span::from_ms(500);
/// After a cancel her own voice is back by then, whatever happened to the fade: within two seconds of the client's first word, of which
/// hearing it takes its share.
pub const BACK: Span = Span::from_ms(1_300);
/// The first packet that is held comes so soon after the order that the fade begins with it, and is shorter by that.
const SOON: Span = Span::from_s(1);
/// Where nothing comes from her, the fade is over so long after its time.
const OVERDUE: Span = Span::from_s(3);
/// Below this she is not heard by somebody half asleep, in dB.
const FAINT_DB: f64 = -20.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The codecs warm up beside the call.
    Warming { since: Moment },
    /// The media plane is to hold her packets back; none was held yet.
    Asked,
    /// Her voice falls, or is silent.
    Falling,
    /// It comes back.
    Rising { since: Moment },
    /// It is back; the media plane is to forward her packets again.
    Releasing { since: Moment },
    /// They are forwarded.
    Over,
}

/// See above.
pub(super) struct Landing {
    fader: Fader,
    stage: Stage,
    began: Moment,
    length: Span,
    /// The highest held packet of the present source.
    held: Option<u64>,
    is_silent: bool,
    /// The silence is still to be said.
    is_news: bool,
}

impl Landing {
    pub(super) fn new(now: Moment, length: Span) -> Result<Self, AudioError> {
        let mut landing =
            Self { fader: Fader::new()?, stage: Stage::Over, began: now, length, held: None, is_silent: false, is_news: false };
        landing.fade(now, length);
        Ok(landing)
    }

    /// What broke, with cold codecs: as quiet as it should be by now, and silent until it is. Nothing where she was to come back: she does.
    pub(super) fn again(&self) -> Result<Option<Self>, AudioError> {
        Ok(match self.stage {
            Stage::Rising { .. } | Stage::Releasing { .. } | Stage::Over => None,
            stage @ (Stage::Warming { .. } | Stage::Asked | Stage::Falling) => Some(Self { fader: self.fader.again()?, stage, ..*self }),
        })
    }

    /// Her voice is to fall, from where it is.
    pub(super) fn fade(&mut self, now: Moment, length: Span) {
        (self.began, self.length, self.is_silent, self.is_news) = (now, length, false, false);
        self.stage = match self.stage {
            Stage::Falling | Stage::Rising { .. } => {
                self.fader.fade_since(now, length);
                Stage::Falling
            }
            // It has not been let go yet, or is warm.
            Stage::Asked | Stage::Releasing { .. } => Stage::Asked,
            // There is no time to warm up where she is to be silent at once.
            _ if length == Span::ZERO => Stage::Asked,
            _ => Stage::Warming { since: now },
        };
    }

    /// Her voice is to come back.
    pub(super) fn unfade(&mut self, now: Moment) {
        self.is_news = false;
        self.stage = match self.stage {
            Stage::Warming { .. } => Stage::Over,
            Stage::Asked => Stage::Releasing { since: now },
            Stage::Falling => {
                self.fader.rise_since(now);
                Stage::Rising { since: now }
            }
            other => other,
        };
    }

    /// What the media plane shall do with her packets; nothing once this is over.
    pub(super) fn purpose(&self) -> Option<Purpose> {
        match self.stage {
            Stage::Warming { .. } | Stage::Releasing { .. } => Some(Purpose::Analyse),
            Stage::Asked | Stage::Falling | Stage::Rising { .. } => Some(Purpose::Replace),
            Stage::Over => None,
        }
    }

    /// Takes her packet; gives what goes out in its place, if it was held and can be faded.
    pub(super) fn hear(&mut self, tapped: &Tapped, packet: &Packet<'_>, is_renewed: bool) -> Option<&[u8]> {
        if is_renewed {
            self.fader.renew();
            self.held = None;
        }
        if !tapped.held {
            // Late packets from before the switch say nothing about it.
            let is_after = self.held.is_none_or(|held| packet.index > held);
            match self.stage {
                Stage::Releasing { .. } | Stage::Rising { .. } if is_after && self.held.is_some() => self.stage = Stage::Over,
                Stage::Over => (),
                _ => {
                    // Only for the codecs' memory: it was forwarded.
                    self.fader.pass(packet);
                    self.is_warm(packet.at);
                }
            }
            return None;
        }
        self.held = self.held.max(Some(packet.index));
        if self.stage == Stage::Asked {
            self.fader.take_over();
            let waited = packet.at.since(self.began);
            if waited <= SOON {
                // Not steeper than twice as steep.
                let left = (self.length.ms() - waited.ms().max(0)).max(self.length.ms() / 2);
                self.fader.fade(Span::from_ms(left));
            } else {
                self.fader.fade_since(self.began, self.length);
            }
            self.stage = Stage::Falling;
        }
        let (is_falling, is_rising) = (self.stage == Stage::Falling, matches!(self.stage, Stage::Rising { .. }));
        let is_passed = self.fader.pass(packet).is_some();
        if is_falling && self.fader.is_silent() {
            self.fell_silent();
        }
        if is_rising && self.fader.is_level() {
            self.stage = Stage::Releasing { since: packet.at };
        }
        is_passed.then(|| self.fader.passed())
    }

    /// What time made due.
    pub(super) fn tick(&mut self, now: Moment) {
        match self.stage {
            Stage::Warming { .. } => self.is_warm(now),
            Stage::Asked | Stage::Falling if now.since(self.began) >= self.length + OVERDUE => self.fell_silent(),
            Stage::Rising { since } | Stage::Releasing { since } if now.since(since) >= BACK => self.stage = Stage::Over,
            _ => (),
        }
    }

    /// True once, when she is not heard any more.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// There was no room to say it: again later.
    pub(super) fn keep_news(&mut self) {
        self.is_news = true;
    }

    /// Whether what she says can be understood.
    pub(super) fn is_heard(&self) -> bool {
        self.fader.gain_db().unwrap_or(FLOOR_DB) > FAINT_DB
    }

    fn is_warm(&mut self, now: Moment) {
        if let Stage::Warming { since } = self.stage
            && (self.fader.is_warm() || now.since(since) >= WARM_UP)
        {
            self.stage = Stage::Asked;
        }
    }

    fn fell_silent(&mut self) {
        if !self.is_silent {
            (self.is_silent, self.is_news) = (true, true);
        }
    }
}
