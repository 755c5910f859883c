//! Events about frameworks: which claimants there are, and which of them are eager.

use super::claimant::ClaimantId;
use super::core::Core;
use super::event::Claims;
use super::key::FrameworkKey;
use model::role::Role;

#[derive(Debug)]
pub(super) struct Framework {
    generation: u32,
    /// Orders frameworks by when they came.
    sequence: u64,
    is_active: bool,
    /// One a role, those of roles it has left but still holds something for included.
    pub(super) claimants: Vec<ClaimantId>,
}

/// All frameworks, by index.
#[derive(Debug, Default)]
pub(super) struct Frameworks {
    all: Vec<Option<Framework>>,
    sequence: u64,
}

impl Frameworks {
    fn add(&mut self, key: FrameworkKey, is_active: bool) {
        let at = key.index as usize;
        if at >= self.all.len() {
            self.all.resize_with(at + 1, || None);
        }
        self.sequence += 1;
        let framework = Framework {
            generation: key.generation,
            sequence: self.sequence,
            is_active,
            claimants: Vec::new(),
        };
        let before = self.all[at].replace(framework);
        assert!(before.is_none(), "a framework is added once");
    }

    /// `None` when it was removed.
    pub(super) fn get(&self, key: FrameworkKey) -> Option<&Framework> {
        let framework = self.all.get(key.index as usize)?.as_ref()?;
        (framework.generation == key.generation).then_some(framework)
    }

    fn get_mut(&mut self, key: FrameworkKey) -> Option<&mut Framework> {
        let framework = self.all.get_mut(key.index as usize)?.as_mut()?;
        (framework.generation == key.generation).then_some(framework)
    }
}

impl Core {
    pub(super) fn add_framework(&mut self, key: FrameworkKey, claims: &Claims, is_active: bool) {
        self.frameworks.add(key, is_active);
        self.update_framework(key, claims);
    }

    pub(super) fn update_framework(&mut self, key: FrameworkKey, claims: &Claims) {
        let Some(framework) = self.frameworks.get(key) else { return };
        for id in framework.claimants.clone() {
            let role = self.tree.role(self.tree.claimants[id].role);
            if !claims.roles.contains(role) {
                self.leave_role(key, id);
            }
        }
        for role in &claims.roles {
            let id = self.claimant_in(key, role);
            let claimant = &mut self.tree.claimants[id];
            let was_suppressed = claimant.is_suppressed;
            claimant.is_subscribed = true;
            claimant.is_suppressed = claims.suppressed.contains(role);
            claimant.capabilities = claims.capabilities;
            if was_suppressed && !claimant.is_suppressed {
                self.columns.forget(&mut self.tree.claimants, id);
            }
            self.constrain(id, claims);
            self.reconsider(key, id);
        }
    }

    pub(super) fn remove_framework(&mut self, key: FrameworkKey) {
        let Some(framework) = self.frameworks.get(key) else { return };
        for id in framework.claimants.clone() {
            for agent in self.tree.claimants[id].agents.iter().collect::<Vec<_>>() {
                let parcel = self.slots.release_all(agent, &mut self.tree.claimants, id);
                self.tree.discharge(id, &parcel);
                self.refresh_ready(agent);
                self.touch(agent);
            }
            self.forget_elsewhere(id);
            self.leave_role(key, id);
        }
        self.frameworks.all[key.index as usize] = None;
    }

    pub(super) fn set_framework_active(&mut self, key: FrameworkKey, is_active: bool) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        framework.is_active = is_active;
        for id in framework.claimants.clone() {
            if !is_active {
                self.columns.forget(&mut self.tree.claimants, id);
            }
            self.reconsider(key, id);
        }
    }

    pub(super) fn suppress(&mut self, key: FrameworkKey, roles: &[Role]) {
        for id in self.claimants_of(key, roles) {
            self.tree.claimants[id].is_suppressed = true;
            self.reconsider(key, id);
        }
    }

    pub(super) fn revive(&mut self, key: FrameworkKey, roles: &[Role]) {
        for id in self.claimants_of(key, roles) {
            self.tree.claimants[id].is_suppressed = false;
            self.columns.forget(&mut self.tree.claimants, id);
            self.reconsider(key, id);
        }
    }

    /// The framework's claimant in that role; there is one for every role it is in or holds something for.
    pub(super) fn find_claimant(&self, key: FrameworkKey, role: &Role) -> Option<ClaimantId> {
        let of = |id: &&ClaimantId| self.tree.role(self.tree.claimants[**id].role) == role;
        self.frameworks.get(key)?.claimants.iter().find(of).copied()
    }

    /// Likewise; made if need be.
    pub(super) fn claimant_in(&mut self, key: FrameworkKey, role: &Role) -> ClaimantId {
        if let Some(id) = self.find_claimant(key, role) {
            return id;
        }
        let framework = self.frameworks.get_mut(key).expect("a framework is added before it is named");
        let id = self.tree.add_claimant(key, role, framework.sequence);
        framework.claimants.push(id);
        id
    }

    /// Forgets a claimant that has left its role and now holds nothing.
    pub(super) fn drop_if_idle(&mut self, key: FrameworkKey, id: ClaimantId) {
        if self.tree.claimants[id].is_idle() {
            self.note_departed(id);
            self.tree.remove_claimant(id);
            let framework = self.frameworks.get_mut(key).expect("a claimant goes before its framework");
            framework.claimants.retain(|other| *other != id);
        }
    }

    /// Those that are in these roles, or in any when none is named.
    fn claimants_of(&self, key: FrameworkKey, roles: &[Role]) -> Vec<ClaimantId> {
        let Some(framework) = self.frameworks.get(key) else { return Vec::new() };
        let is_meant = |id: &ClaimantId| {
            let claimant = &self.tree.claimants[*id];
            claimant.is_subscribed && (roles.is_empty() || roles.contains(self.tree.role(claimant.role)))
        };
        framework.claimants.iter().copied().filter(is_meant).collect()
    }

    fn leave_role(&mut self, key: FrameworkKey, id: ClaimantId) {
        let claimant = &mut self.tree.claimants[id];
        claimant.is_subscribed = false;
        claimant.is_suppressed = false;
        self.columns.forget(&mut self.tree.claimants, id);
        self.constrain_no_more(id);
        self.reconsider(key, id);
        self.drop_if_idle(key, id);
    }

    /// Puts the claimant into its queue or takes it out; one that is in is tried on what is free, since it may want or
    /// may have what it did not before.
    fn reconsider(&mut self, key: FrameworkKey, id: ClaimantId) {
        let claimant = &self.tree.claimants[id];
        let is_active = self.frameworks.get(key).is_some_and(|framework| framework.is_active);
        let is_eager = is_active && claimant.is_subscribed && !claimant.is_suppressed;
        self.tree.set_eager(id, is_eager);
        self.columns.set_eager(&self.tree.claimants, id, is_eager);
        if is_eager {
            self.newly_eager.push(id);
        }
    }
}
