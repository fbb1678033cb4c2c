//! The last things that happened, for whoever has to find out why.

use crate::clock::Moment;
use std::collections::VecDeque;
use std::fmt::Debug;

/// Lines kept.
const KEPT: usize = 60;

/// A few lines of what happened last. Texts are made only while somebody looks.
#[derive(Default)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    is_on: bool,
    pub(super) steps: u64,
}

impl Trace {
    /// A trace that keeps texts. It costs more than what it tells of, so it is on only in the second run of a seed.
    pub(super) fn kept() -> Self {
        Self { is_on: true, ..Self::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn note(&mut self, at: Moment, what: &dyn Debug) {
        if self.is_on {
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            let mut text = format!("{at} {what:?}");
            if text.len() > 240 {
                let mut end = 240;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
                text.push('…');
            }
            self.lines.push_back(text);
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
