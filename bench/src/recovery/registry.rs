//! A registry by itself: so many agents admitted, and read again by the next master.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use ingot_master::registrar::Registrar;
use ingot_master::registrar::change::Change;
use ingot_master::registrar::storage::Storage;
use ingot_master::registrar::storage::redb::Redb;
use model::agent_info::AgentInfo;
use model::id::AgentId;

use crate::clock;

pub(super) struct Figures {
    pub(super) admitted_per_s: f64,
    pub(super) opened: Duration,
}

pub(super) fn in_redb(count: usize) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir().context("make a folder")?;
    measure(count, || Ok(Box::new(Redb::open(folder.path())?)))
}

/// Admits so many agents to what `open` gives first, and reads them from what it gives then. Opening it is measured, too.
pub(super) fn measure(
    count: usize,
    mut open: impl FnMut() -> anyhow::Result<Box<dyn Storage>>,
) -> anyhow::Result<Figures> {
    let mut registrar = Registrar::open(open()?)?;
    let changes = changes(count)?;
    let began = clock::now();
    changes.into_iter().for_each(|change| registrar.push(change));
    while registrar.write()? > 0 {}
    let admitted_per_s = count as f64 / began.elapsed().as_secs_f64();
    drop(registrar);
    let began = clock::now();
    let registrar = Registrar::open(open()?)?;
    let opened = began.elapsed();
    ensure!(registrar.registry().agents.len() == count, "not all agents are there again");
    Ok(Figures { admitted_per_s, opened })
}

/// Writes a registry for a master to start with.
pub(super) fn fill(folder: &Path, count: usize) -> anyhow::Result<()> {
    let mut registrar = Registrar::open(Box::new(Redb::open(folder)?))?;
    changes(count)?.into_iter().for_each(|change| registrar.push(change));
    while registrar.write()? > 0 {}
    Ok(())
}

fn changes(count: usize) -> anyhow::Result<Vec<Change>> {
    (0..count).map(|n| Ok(Change::Admit { agent_id: agent_id(n), info: Arc::new(info(n)?) })).collect()
}

pub(super) fn agent_id(n: usize) -> AgentId {
    AgentId::new(format!("0b2f0f1e-4f3c-4a51-8d0e-0a2b6f6a7c11-S{n}"))
}

/// What an agent of a rack and a zone says of itself.
pub(super) fn info(n: usize) -> anyhow::Result<AgentInfo> {
    let attributes = api::convert::agent::attributes(&format!("rack:r{};zone:z{}", n / 40, n % 3))?;
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + u32::try_from(n)?);
    Ok(AgentInfo {
        hostname: format!("agent-{n}.example").into(),
        address: SocketAddr::new(address.into(), 5051),
        total: "cpus:16;mem:65536;disk:100000;ports:[31000-32000]".parse().context("resources")?,
        boot_id: "5a2c1b0e-6e3c-4f0a-9a57-0c8f1d2e3b4a".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        body: api::convert::agent::body_of(attributes, None),
    })
}
