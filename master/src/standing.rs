//! Whether this master leads, and who does if it does not: told by the thread "leader", looked at by `net` and `http`.

use leader::info::Info;
use tokio::sync::watch;

/// Where this master stands. It leads once, and then until its end.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Another leads, or it is not known who.
    Standby(Option<Info>),
    Leading,
}

/// A look at it.
#[derive(Clone)]
pub(crate) struct Stands(watch::Receiver<Standing>);

pub(crate) fn standing(first: Standing) -> (watch::Sender<Standing>, Stands) {
    let (sender, receiver) = watch::channel(first);
    (sender, Stands(receiver))
}

impl Stands {
    pub(crate) fn leads(&self) -> bool {
        matches!(*self.0.borrow(), Standing::Leading)
    }

    /// The other that leads.
    pub(crate) fn leader(&self) -> Option<Info> {
        match &*self.0.borrow() {
            Standing::Standby(leader) => leader.clone(),
            Standing::Leading => None,
        }
    }
}
