//! One leader acts at a time: when a master has acted in a term, none of an earlier term acts ever again, and none writes
//! into the registry.

use super::{Law, Verdict, breach};

#[derive(Debug, Default)]
pub(in crate::seeded) struct Leadership {
    /// The latest term in which anything was let out.
    term: i64,
    master: usize,
}

impl Leadership {
    pub(in crate::seeded) fn acts(&mut self, master: usize, term: i64) -> Verdict {
        if term < self.term {
            let (latest, by) = (self.term, self.master);
            let what = format!("master-{master} acts in term {term}, after master-{by} did in term {latest}");
            return breach(Law::OneLeader, what);
        }
        (self.term, self.master) = (term, master);
        Ok(())
    }

    pub(in crate::seeded) fn writes(&mut self, master: usize, term: i64) -> Verdict {
        self.acts(master, term)
    }

    /// What a dead master had sent arrives and is kept, in the registry of that owner.
    pub(in crate::seeded) fn late_write(&self, term: i64, owner: i64) -> Verdict {
        if term < self.term || term != owner {
            let what = format!("a write of term {term} is kept in term {owner}");
            return breach(Law::OneLeader, what);
        }
        Ok(())
    }
}
