//! What programs hold containers to: set before anything runs in them, changed while they run, found again by the next agent.
//! Only where this machine can; what it cannot was said at the agent's start.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::devices::DeviceList;
use crate::bpf::hold::{Egress, Hold, HoldError};
use crate::cgroup::Enforcement;
use crate::cgroup::knobs::Limits;

/// Shared between the launcher, which sets, and who asks for figures.
#[derive(Clone)]
pub(super) struct Held {
    hold: Arc<Mutex<Hold>>,
    /// `None`: whatever they like.
    devices: Option<Arc<DeviceList>>,
    has_devices: bool,
    has_egress: bool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Held").field("devices", &self.devices).finish_non_exhaustive()
    }
}

impl Held {
    /// Tries what this machine can, and says so in `enforcement`.
    pub(super) fn probe(enforcement: &mut Enforcement) -> Self {
        enforcement.tried(Hold::probe());
        let (has_devices, has_egress) = (enforcement.devices.is_yes(), enforcement.egress.is_yes());
        let devices = Some(Arc::new(DeviceList::usual()));
        Self { hold: Arc::default(), devices, has_devices, has_egress }
    }

    /// Holds nothing.
    pub(super) fn none() -> Self {
        Self { hold: Arc::default(), devices: None, has_devices: false, has_egress: false }
    }

    pub(super) fn with_devices(self, devices: Option<DeviceList>) -> Self {
        Self { devices: devices.map(Arc::new), ..self }
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        // Each call leaves it whole.
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before anything runs in the container. Blocks.
    pub(super) fn begin(&self, group: &Path, limits: &Limits) -> Result<(), HoldError> {
        self.devices(group)?;
        match limits.egress_max_bytes.filter(|_| self.has_egress) {
            Some(_) => self.change(group, limits),
            // Nothing was ever attached there.
            None => Ok(()),
        }
    }

    fn devices(&self, group: &Path) -> Result<(), HoldError> {
        match self.devices.as_deref().filter(|_| self.has_devices) {
            Some(list) => self.hold().devices(group, list.rules()),
            None => Ok(()),
        }
    }

    /// Blocks.
    pub(super) fn change(&self, group: &Path, limits: &Limits) -> Result<(), HoldError> {
        if self.has_egress { self.hold().egress(group, limits.egress_max_bytes) } else { Ok(()) }
    }

    /// A container of an earlier agent: held to the devices that this one allows, and its figures go on. Blocks.
    pub(super) fn find(&self, group: &Path) -> Result<(), HoldError> {
        if self.has_egress {
            self.hold().find_egress(group);
        }
        if self.has_devices && self.devices.is_none() {
            self.hold().free_devices(group)
        } else {
            self.devices(group)
        }
    }

    /// `None`: its egress is not limited.
    pub(super) fn egress(&self, id: u64) -> Option<Egress> {
        self.hold().egress_of(id)
    }

    pub(super) fn forget(&self, id: u64) {
        self.hold().forget(id);
    }
}
