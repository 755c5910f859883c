//! How the rows of a session come and go.

use super::block::{Block, Event, Seat, second};
use super::history::Ring;
use super::writer::Writer;
use super::{BANK_ROWS, Figures, Place, Row};
use model::time::UnixTime;
use std::collections::BTreeMap;
use wire::WireError;
use wire::report::Members;

impl Writer {
    /// The session has ended. Its rows stay as they are until nobody shows them.
    pub fn session_ended(&mut self, block: Block) {
        self.abandon(block.seats, &block.banks);
    }

    fn abandon(&mut self, seats: Vec<Option<Seat>>, banks: &[usize]) {
        for Seat { container_id, row, .. } in seats.into_iter().flatten() {
            if let Some(row) = row.filter(|row| self.is_running(*row)) {
                self.orphan(&container_id, row);
            }
        }
        banks.iter().for_each(|bank| self.detach(*bank));
    }

    /// Somebody shows the row, and its container is not over.
    pub(super) fn is_running(&self, row: Row) -> bool {
        self.is_known(row) && matches!(self.place(row), Place::Live(..))
    }

    /// Containers have come or gone, or tasks in them. Nothing is changed when the members are damaged.
    pub(super) fn arrange(
        &mut self,
        block: &mut Block,
        members: Members<'_>,
        now: UnixTime,
        hear: &mut impl FnMut(Event),
    ) -> Result<(), WireError> {
        let mut named: Vec<Option<Seat>> = Vec::with_capacity(members.len());
        for member in members.iter() {
            // Containers of an agent are of few frameworks: their names are shared.
            let seat = match member? {
                Some(member) => Some(Seat::of(&member, named.iter().flatten().next_back())?),
                None => None,
            };
            named.push(seat);
        }
        let mut places = BTreeMap::new();
        for (at, seat) in named.iter().enumerate() {
            if let Some(seat) = seat
                && places.insert(&seat.container_id, at).is_some()
            {
                return Err(WireError::Field { field: "members", why: "name a container twice".into() });
            }
        }
        let is_moved = |(at, seat): (usize, &Option<Seat>)| {
            let place = seat.as_ref().and_then(|seat| places.get(&seat.container_id));
            place.is_some_and(|place| *place != at)
        };
        let mut old = std::mem::take(&mut block.seats);
        if old.iter().enumerate().any(is_moved) {
            // All begins anew, as in another session: so histories go along, whoever changes places with whom.
            self.abandon(std::mem::take(&mut old), &std::mem::take(&mut block.banks));
        }
        for (at, seat) in old.iter_mut().enumerate() {
            let new = named.get(at).and_then(Option::as_ref);
            // A container that is over may be named for a moment longer.
            let stays = |seat: &Seat| {
                new.is_some_and(|new| new.is_same(seat)) && seat.row.is_none_or(|row| self.is_running(row))
            };
            if let Some(gone) = seat.take_if(|seat| !stays(seat)) {
                self.vacate(gone, hear);
            }
        }
        self.fit(block, named.len());
        old.resize(named.len(), None);
        for (at, (old, new)) in old.iter_mut().zip(named).enumerate() {
            if let (None, Some(mut seat)) = (&old, new) {
                seat.row = block.banks.get(at / BANK_ROWS).and_then(|bank| self.claim(&seat, *bank, at, now));
                match seat.row {
                    Some(row) => hear(seat.appeared(row)),
                    None => self.refuse(),
                }
                *old = Some(seat);
            }
        }
        block.seats = old;
        Ok(())
    }

    /// The report names the container no more: what is known of it stays, for as long as it is shown.
    fn vacate(&mut self, seat: Seat, hear: &mut impl FnMut(Event)) {
        let Some(row) = seat.row.filter(|row| self.is_running(*row)) else { return };
        if let Some(Figures { usage, .. }) = self.table.read(row) {
            self.write_last(row, &Figures { usage, is_final: false });
        }
        if self.is_running(row) {
            self.move_to(row, Place::Nowhere);
        }
        hear(seat.over(row));
    }

    /// As many banks as so many rows take, or as there are.
    fn fit(&mut self, block: &mut Block, rows: usize) {
        let count = rows.div_ceil(BANK_ROWS);
        for bank in block.banks.drain(count.min(block.banks.len())..) {
            self.detach(bank);
        }
        while block.banks.len() < count
            && let Some(bank) = self.take_bank()
        {
            block.banks.push(bank);
        }
    }

    /// Gives row `at` of the report, in that bank, to a container. One whose session has ended goes on where it was.
    fn claim(&mut self, seat: &Seat, bank: usize, at: usize, now: UnixTime) -> Option<Row> {
        let row = self.allocate()?;
        let (at, now) = (at % BANK_ROWS, second(now));
        let mut born = now;
        let before = self.orphaned(&seat.container_id);
        if let Some(old) = before
            && let Some(shown) = self.table.read(old)
        {
            let cells = self.table.live.get(bank).expect("a block's banks are made");
            cells.write_row(at, 0, 0, &shown.usage.to_words());
            if let Place::Live(its_bank, its_row) = self.place(old)
                && let Some(since) = self.ring(bank).take_over(at, self.ring(its_bank), its_row, now)
            {
                born = since;
            }
        }
        let state = &mut self.banks[bank];
        state.owners[at] = row.word();
        state.born[at] = born;
        state.fresh |= 1 << at;
        state.held &= !(1 << at);
        if before.is_some() {
            state.held |= 1 << at;
            state.written = u128::MAX;
        }
        self.move_to(row, Place::Live(bank, at));
        Some(row)
    }

    fn ring(&self, bank: usize) -> &Ring<BANK_ROWS> {
        self.table.rings.get(bank).expect("a bank's ring is made with it")
    }
}
