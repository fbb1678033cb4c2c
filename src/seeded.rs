//! Faults put in on purpose, to show that the tests find them. In the product there are none: [`has`] is then a constant.
//!
//! A fault is planted for one thread, so tests beside each other do not meet. Invariant: nothing here changes what lull does unless
//! a unit test plants it.

/// A mistake somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The database does not wait for the disk.
    FsyncSkipped,
    /// A commit is said to be done and is not, now and then.
    CommitSkipped,
    /// Idempotency keys are forgotten after a while.
    KeyPruned,
    /// A command's reply is kept before its effect, whatever becomes of that.
    ReplyBeforeEffect,
    /// Pages hear of facts that are not on disk yet.
    SaidTooEarly,
    /// A charge is split by cutting, the rest goes to the vendor.
    SplitFloored,
    /// Each span of delivered time is cut to whole seconds.
    SpanTruncated,
    /// The free seconds at the start are taken off twice.
    GraceTwice,
    /// An increment costs what its last second does.
    IncrementAtItsEnd,
    /// The hour that a clock shows twice is billed once.
    RepeatedHourOnce,
    /// Each stretch of one rate is rounded by itself.
    RoundedEachStretch,
    /// A pause begins when it is noticed.
    PauseFromReport,
    /// What is held is set free in a transaction of its own, before the capture.
    ReleasedBeforeCapture,
    /// A settlement resolves its holds again.
    ResolvedTwice,
    /// An end waits for an extension that waits for the store.
    ExtendedAfterEnd,
    /// A charge may be more than was set aside.
    ChargedAboveHolds,
    /// The call is charged for time in which the companion was to blame.
    FaultIgnored,
    /// The vendor's part is paid to the companion and the other way round.
    SharesSwapped,
    /// A part of the facts is not written when a call ends.
    QualityLeftOut,
    /// An order is credited each time it is shown.
    OrderTwice,
    /// A heartbeat that an earlier start of the server sent is taken.
    HeartbeatOfEarlierBoot,
    /// After a crash the time until the restart counts as proved.
    ProvedUntilRestart,
    /// What vendors' programs are told is written after the facts, in a transaction of its own.
    OutboxApart,
    /// The meter runs on while the companion's voice fades.
    LandingBilled,
    /// A server that takes a call up in its linger knows that the client sleeps, though it has heard nothing.
    LingerKept,
    /// More goes back of a call than was captured.
    RefundAboveCaptured,
    /// The key of a refund is not kept: shown again, it is done again.
    RefundRepeated,
    /// A refund of a call has no event.
    RefundUntold,
    /// A vendor's policy may be worse for her clients than the default.
    PolicyAgainstClient,
    /// A call is settled by the defaults, whatever policy it was made on.
    PolicyForgotten,
    /// A purchase counts as much as the first one, whatever was paid for it.
    TopUpAsHold,
    /// An event does not wait for those of its call before it.
    DeliveryOvertakes,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 32] = [
        Bug::FsyncSkipped,
        Bug::CommitSkipped,
        Bug::KeyPruned,
        Bug::ReplyBeforeEffect,
        Bug::SaidTooEarly,
        Bug::SplitFloored,
        Bug::SpanTruncated,
        Bug::GraceTwice,
        Bug::IncrementAtItsEnd,
        Bug::RepeatedHourOnce,
        Bug::RoundedEachStretch,
        Bug::PauseFromReport,
        Bug::ReleasedBeforeCapture,
        Bug::ResolvedTwice,
        Bug::ExtendedAfterEnd,
        Bug::ChargedAboveHolds,
        Bug::FaultIgnored,
        Bug::SharesSwapped,
        Bug::QualityLeftOut,
        Bug::OrderTwice,
        Bug::HeartbeatOfEarlierBoot,
        Bug::ProvedUntilRestart,
        Bug::OutboxApart,
        Bug::LandingBilled,
        Bug::LingerKept,
        Bug::RefundAboveCaptured,
        Bug::RefundRepeated,
        Bug::RefundUntold,
        Bug::PolicyAgainstClient,
        Bug::PolicyForgotten,
        Bug::TopUpAsHold,
        Bug::DeliveryOvertakes,
    ];
}

#[cfg(test)]
pub use planted::{has, with};

/// Whether this bug is planted: never.
#[cfg(not(test))]
#[inline(always)]
pub const fn has(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod planted {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted on this thread.
    pub fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread while `run` runs.
    pub fn with<T>(bug: Option<Bug>, run: impl FnOnce() -> T) -> T {
        struct Before(Option<Bug>);
        impl Drop for Before {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _before = Before(PLANTED.replace(bug));
        run()
    }
}
