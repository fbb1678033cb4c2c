//! From one leg to the other: the mapping of numbers.

use super::Dropped;
use super::leg::{LegMedia, Received};
use crate::clock::Moment;

/// Maps what `from` received in `buffer` to the numbers of `to`, protects it with the keys of `to` and returns its new
/// length. `buffer` must hold [`super::SPARE`] octets beyond the packet. `at` is the present moment.
pub fn pass(from: &LegMedia, to: &mut LegMedia, received: Received, buffer: &mut [u8], at: Moment) -> Result<usize, Dropped> {
    Err(Dropped::NotKeyed)
}
