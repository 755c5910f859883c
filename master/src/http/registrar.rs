//! The registrar's figures under Mesos' names, as gauges of `/metrics/snapshot`.

use super::legacy::Gauge;
use crate::registrar::Figures;

/// As Mesos' timer has them: the share of all times that each is not below.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// Only a leader has them: the registry has been read.
pub(super) fn gauges(figures: &Figures) -> Vec<Gauge> {
    let mut gauges: Vec<Gauge> = [
        ("registrar/log/ensemble_size", figures.replica_count() as f64),
        ("registrar/log/recovered", 1.0),
        ("registrar/queued_operations", figures.queued_count() as f64),
        ("registrar/registry_size_bytes", figures.size_bytes() as f64),
        ("registrar/state_fetch_ms", figures.fetch_ms()),
    ]
    .map(|(name, value)| (name.into(), value))
    .into();
    let stores = figures.stores_ms();
    let Some(last) = stores.last() else { return gauges };
    gauges.push(("registrar/state_store_ms".into(), *last));
    let mut put =
        |part: &str, value: f64| gauges.push((format!("registrar/state_store_ms/{part}").into(), value));
    put("count", figures.store_count() as f64);
    let mut sorted = stores;
    sorted.sort_unstable_by(f64::total_cmp);
    put("min", sorted[0]);
    put("max", sorted[sorted.len() - 1]);
    for (part, share) in PERCENTILES {
        let at = (sorted.len() as f64 * share).ceil() as usize;
        put(part, sorted[at.clamp(1, sorted.len()) - 1]);
    }
    gauges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::Registrar;
    use crate::registrar::change::Change;
    use crate::registrar::storage::memory::Memory;
    use model::quantity::Quantity;
    use model::role::Role;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_written_shows() {
        let mut registrar = Registrar::open(Box::new(Memory::default())).expect("empty");
        let figures = registrar.figures();
        let named = |figures: &Figures| gauges(figures).into_iter().collect::<BTreeMap<_, _>>();
        assert!(!named(&figures).contains_key("registrar/state_store_ms"), "nothing was written");
        for n in 1..=3 {
            let weights =
                vec![(Role::parse(&"r".repeat(100)).expect("a role"), Some(Quantity::from_units(n)))];
            registrar.push(Change::Weights { weights });
            registrar.write().expect("memory");
        }
        let named = named(&figures);
        assert_eq!(named["registrar/state_store_ms/count"], 3.0);
        assert_eq!(named["registrar/log/recovered"], 1.0);
        assert!(named["registrar/registry_size_bytes"] >= 300.0);
        let part = |name: &str| named[&*format!("registrar/state_store_ms/{name}")];
        assert!(part("min") <= part("p50") && part("p50") <= part("p99") && part("p99") <= part("max"));
    }
}
