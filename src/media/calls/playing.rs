//! What the server plays to the pages of a shard, on their second audio track.
//!
//! A player belongs to a side of a call and goes on when the page is loaded again; what is due while no leg is there is heard by nobody.

use super::Calls;
use crate::call::Side;
use crate::ids::CallId;
use crate::media::play::{Play, Player};
use crate::media::socket::{Path, SLOT};
use std::cmp::Reverse;
use std::time::Instant;

impl Calls {
    /// Takes an order for a side's player.
    pub(crate) fn play(&mut self, id: CallId, side: Side, play: Play, now: Instant) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_stopped) else { return };
        let seat = &mut call.seats[side as usize];
        let player = seat.player.get_or_insert_with(|| Box::new(Player::new(now)));
        player.take(play, now);
        if let Some(due) = player.due()
            && seat.frame_due.is_none()
        {
            seat.frame_due = Some(due);
            self.playing.push(Reverse((due, id, side)));
        }
    }

    /// Whether there is a frame to be played now.
    pub(crate) fn frame_is_due(&self, now: Instant) -> bool {
        self.playing.peek().is_some_and(|Reverse((due, ..))| *due <= now)
    }

    /// Takes the next frame that is due and writes it into the buffer; returns its length and where to send it, or none if nobody hears it.
    pub(crate) fn next_frame(&mut self, buffer: &mut [u8; SLOT], now: Instant) -> Option<(usize, Path)> {
        let Reverse((due, id, side)) = self.playing.pop()?;
        let seat = &mut self.calls.get_mut(&id)?.seats[side as usize];
        let player = seat.player.as_mut().filter(|_| seat.frame_due == Some(due))?;
        let frame = player.next(now);
        seat.frame_due = player.due();
        if let Some(due) = seat.frame_due {
            self.playing.push(Reverse((due, id, side)));
        }
        let leg = self.legs.get_mut(seat.current?)?.as_mut()?;
        let path = leg.way()?;
        let frame = frame?;
        // Without a track for it, or keys, there is nobody to hear it.
        let length = leg.media.announce(&frame.payload, frame.follows, self.clock.at(now), buffer).ok()?;
        Some((length, path))
    }
}
