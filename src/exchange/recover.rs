//! Taking calls up again: from their journals when the server starts, and after the machine slept.
//!
//! It does to calls what `call::recover` says and nothing else; what comes out is carried out as ever, facts first.

use super::{Effect, Exchange};
use crate::call::{Call, Journal, ReplayError};
use crate::clock::Moment;
use crate::ids::{BootId, CallId};

impl Exchange {
    /// Takes in a call that an earlier server left open, as its journal and its last proof on disk have it. The call goes on when
    /// its legs return; a call that had ended and was not settled is settled.
    ///
    /// # Errors
    /// The journal gives no call; nothing was taken in.
    pub fn recover(
        &mut self,
        journal: &Journal,
        proved: Option<Moment>,
        boot: BootId,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<(), ReplayError> {
        let call = Call::replay(journal)?;
        let id = call.id();
        self.insert(call);
        self.work(id, out, |call, effects| call.recover(boot, proved, now, effects));
        Ok(())
    }

    /// The machine slept from `since` until `now`: an outage of ours in every call. To be called before anything else that happens after it.
    pub fn suspend(&mut self, since: Moment, now: Moment, out: &mut Vec<Effect>) {
        let open: Vec<CallId> = self.calls().filter(|call| !call.is_over()).map(Call::id).collect();
        for id in open {
            self.work(id, out, |call, effects| call.suspend(since, now, effects));
        }
    }
}
