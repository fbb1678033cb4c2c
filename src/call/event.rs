//! What comes into a call and what goes out of it.
//!
//! Events are what the media plane saw, what a person or the vendor asked for, and what the store answered. Effects are
//! orders to the shell; facts are not among them, a call keeps its own ([`super::Call::entries`]).

use super::{Asker, EndReason, Fault, Quality, RecordingEnd, Side};
use crate::clock::{Moment, Span};
use crate::ids::{GiftId, HoldId, LegId, TokenId};
use crate::money::{Currency, Money};
use crate::sleep::Verdict;

/// Names a request that waits for an answer; opaque here, the shell routes the answer by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened or was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A party's offer was accepted for a new leg; for now joining is accepting.
    Joined { side: Side, leg: LegId },
    /// ICE and DTLS are up on a leg; it replaces the side's earlier one.
    Connected { side: Side, leg: LegId, at: Moment },
    /// Audio from this side was sent on to the other side's connected leg.
    AudioReached { from: Side, at: Moment },
    /// No proof of life from this leg since `since`.
    Lost { side: Side, leg: LegId, since: Moment },
    /// A lost leg is heard again.
    Back { side: Side, leg: LegId, at: Moment },
    /// Nothing came from this leg since `since`, too short yet to call it lost: if the call ends meanwhile, it counts from there.
    Faltered { side: Side, leg: LegId, since: Moment },
    /// A leg that faltered is heard again.
    Steadied { side: Side, leg: LegId, at: Moment },
    /// The page closed the leg's transport: a loss that is known at once.
    Hushed { side: Side, leg: LegId, since: Moment },
    /// A leg never came up, or its transport failed for good.
    Failed { side: Side, leg: LegId },
    /// The media plane's totals for one side; the last ones before the end become facts.
    Measured { side: Side, quality: Quality },
    /// Somebody who pays wants more time: one more block, or a top-up by `amount` (none: the terms' own). The shell makes the
    /// hold's name where it makes the request's: the same name again is the same purchase. `order_ref`: the vendor was paid
    /// outside, credit the wallet first.
    ExtendAsked { by: Asker, hold: HoldId, amount: Option<Money>, order_ref: Option<String>, request: RequestId },
    /// The store set it aside.
    Reserved { hold: HoldId },
    /// The store did not; nothing was written.
    NotReserved { hold: HoldId, why: Refused },
    /// Free time, after all paid time; whole seconds. `gift`: the same name again is the same gift; none if the shell sees to that.
    GiftAsked { by: Asker, length: Span, gift: Option<GiftId>, request: RequestId },
    /// A party hung up.
    HangUp { side: Side },
    /// The vendor withdraws a party's link; `token` is what the new one carries.
    LinkAsked { side: Side, token: TokenId, request: RequestId },
    /// The vendor ends the call.
    VendorEnds { request: RequestId },
    /// The companion pressed the one button.
    AbuseReported,
    /// What the ear takes the client for, of until-asleep calls: when that changes, or its grounds do.
    Ear { verdict: Verdict },
    /// The client spoke or moved at this moment.
    Spoke { at: Moment },
    /// The client tapped.
    ImHere,
    /// The companion says that the client sleeps.
    SaysAsleep,
    /// The companion says that the client is awake.
    SaysAwake,
    /// A party says whether the call may be recorded.
    Consents { side: Side, yes: bool },
    /// The shell cannot go on recording this part.
    RecordingFailed { part: u32, why: RecordingEnd },
    /// lull is going down in order.
    ServerStops,
    /// The store has not kept a proof of this call for too long; what is on disk proves it until `proved`.
    LeaseLapsed { proved: Moment },
}

/// An order to the shell. New entries of the call must be on disk before any but `StopMedia` is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stop forwarding and close both legs, at once and before anything is committed.
    StopMedia,
    /// Something for the ear or the voice of the server: at once too, for a client who wakes does not wait for the disk.
    Audio(Audio),
    /// Set this amount aside under this name, then say [`Event::Reserved`] or [`Event::NotReserved`].
    Reserve { hold: HoldId, amount: Money, order_ref: Option<String>, request: RequestId },
    /// Tell one side, or both.
    Tell { to: Option<Side>, notice: Notice },
    /// The answer to a request; each request is answered once.
    Answer { request: RequestId, result: Result<Answered, Refused> },
}

/// What the server hears, fades and plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Begin to listen whether the client sleeps.
    Listen,
    /// Listen no longer.
    Deaf,
    /// Let the companion's voice fade to silence within this time; zero: she is silent at once.
    Fade { length: Span },
    /// Let it come back.
    Unfade,
    /// Let this side hear something.
    Play { to: Side, cue: Cue },
}

/// What the server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// A minute is left.
    Chime { dbfs: i8 },
    /// More time was added.
    Extended { dbfs: i8 },
    /// The companion is not there yet, or no longer.
    Waiting { on: bool },
    /// A very quiet tone, which only somebody awake answers.
    Probe,
}

/// What pages are told. Each of them also means that what a page shows has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody joined, connected, went or came back.
    Changed,
    /// The meter runs for the first time.
    Started,
    /// This much time is left before the call ends by time.
    Warning { left: Span },
    /// More time was bought; `added` is what it adds as far as is known, for a top-up depends on the hours it falls in.
    Extended { by: Asker, added: Span },
    /// Free time was given.
    Gifted { by: Asker, length: Span },
    /// The meter stands.
    Paused { cause: Fault },
    /// The meter runs again.
    Resumed,
    /// The call is over and settled.
    Ended { reason: EndReason, at_fault: Fault },
}

/// A request that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The call is longer by what was bought.
    Extended,
    /// The call is longer by the gift.
    Gifted,
    /// The old link is withdrawn.
    LinkRenewed,
    /// The call is over.
    Ended,
}

/// Why a request was not carried out. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The call is over; a hold made meanwhile was released when it settled.
    #[error("the call has ended")]
    CallEnded,
    /// There is no such call, or it is long over.
    #[error("there is no such call")]
    UnknownCall,
    /// Time can be added only once the call is live: until then it may still come to nothing.
    #[error("the call is not live yet")]
    NotLive,
    /// A client cannot give time away, a companion cannot buy it.
    #[error("this party cannot ask for that")]
    NotAllowed,
    /// The plan has one price for the whole call, or its cap is paid for.
    #[error("there is nothing more to buy: this call is paid for whole")]
    NothingToBuy,
    /// A top-up that does not reach the next increment.
    #[error("this amount buys no more time at the rate that will be in force")]
    BuysNothing,
    /// Not the price of a block.
    #[error("a block of this call costs {accepted}: it is extended by that, no more and no less")]
    Amount { accepted: Money },
    /// Not an amount of the plan's currency that a call may cost.
    #[error("this call is paid for in {currency}, with 2^53 - 1 minor units at most")]
    Currency { currency: Currency },
    /// The call would pass its longest duration.
    #[error("the call would become longer than a call may be")]
    TooLong,
    /// The call's price would leave the range that is kept exact.
    #[error("this call, or all credits of its vendor together, would pass 2^53 - 1 minor units")]
    TooLarge,
    /// The companion has given what she may; `left` is what she still can.
    #[error("only {} s can still be given", left.whole_s())]
    GiftLimit { left: Span },
    /// A gift is a positive number of whole seconds.
    #[error("a gift is a positive number of whole seconds")]
    GiftLength,
    /// Too many requests of this call wait for the store.
    #[error("too many requests at once")]
    Busy,
    /// The wallet has less than is to be set aside.
    #[error("the wallet has {available}")]
    Funds { available: Money },
    /// The order reference was used before.
    #[error("this order was credited before")]
    OrderCredited,
    /// The store could not write.
    #[error("the store could not write")]
    Storage,
}
