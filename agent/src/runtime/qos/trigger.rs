//! PSI triggers: the kernel wakes us when a regular container has waited too long, also where a look costs too much to be
//! taken every 20 ms. (Kernel doc: Documentation/accounting/psi.rst.)

use super::{Known, Qos};
use crate::runtime::Agent;
use crate::sys::watch::Watch;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use tokio::io::Interest;

/// The shortest window that there is, and the shortest for who may not have a kernel thread for it (CAP_SYS_RESOURCE).
/// Microseconds; the kernel looks ten times in each.
const WINDOWS_US: [u64; 2] = [500_000, 2_000_000];

impl Agent {
    /// For each regular container that has none, as long as anything is lent.
    pub(super) fn set_triggers(self: &Rc<Self>) {
        let Some(target) = self.qos.targets.pressure_permille else { return };
        let known = self.qos.known.borrow();
        let firm = known.values().filter(|it| it.lent_cpus_milli.is_none() && !it.has_cpu_limit);
        for known in firm.filter(|it| !it.has_trigger.get()) {
            // Tried once: what is refused now is refused later.
            known.has_trigger.set(true);
            let Some(path) = &known.path else { continue };
            match open(path, target) {
                Ok(watch) => self.follow(known, watch),
                Err(error) => {
                    tracing::debug!(%error, path = %path.display(), "no PSI trigger; looking is all there is")
                }
            }
        }
    }

    fn follow(self: &Rc<Self>, known: &Known, watch: Watch) {
        let agent = Rc::downgrade(self);
        let following = tokio::task::spawn_local(async move {
            while watch.event().await.is_ok() {
                let Some(agent) = agent.upgrade() else { return };
                let qos: &Qos = &agent.qos;
                qos.woken.notify_one();
            }
        });
        known.trigger.replace(Some(following.abort_handle()));
    }
}

fn open(group: &Path, permille: u64) -> io::Result<Watch> {
    let open = || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(group.join("cpu.pressure"))
    };
    let mut refused = io::ErrorKind::InvalidInput.into();
    for window_us in WINDOWS_US {
        let mut file = open()?;
        match file.write_all(format!("some {} {window_us}\0", window_us / 1000 * permille).as_bytes()) {
            Ok(()) => return Watch::new(file.into(), Interest::PRIORITY),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
