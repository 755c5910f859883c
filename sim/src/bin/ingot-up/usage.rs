//! What the kernel measured of the job's tasks: complete a moment after their end, when the agent has read each
//! container once more and told the master.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sim::processes::Cluster;

/// An agent reports every second; a container is read at its end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until the figures of all tasks are final; says where they come from.
pub(crate) async fn until_final(cluster: &mut Cluster) -> Result<String> {
    let usages = async |cluster: &Cluster| -> Result<Vec<Value>> {
        let mut answer = cluster.get("/tasks?limit=1000").await?;
        let tasks = answer["tasks"].as_array_mut().context("/tasks holds no list")?;
        Ok(tasks.iter_mut().map(|it| it["ingot"]["usage"].take()).collect())
    };
    cluster
        .until("the figures of all tasks are final", PATIENCE, async |cluster| {
            Ok(usages(cluster).await?.iter().all(|it| it["final"] == true))
        })
        .await?;
    Ok(sources(&usages(cluster).await?))
}

fn sources(usages: &[Value]) -> String {
    let of = |what: &str| {
        let sources = usages.iter().filter_map(|it| it["source"][what].as_str());
        sources.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ")
    };
    format!("measured by: {} (CPU), {} (memory), {} (network)", of("cpu"), of("memory"), of("network"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_source_is_named_once() {
        let usage =
            |cpu: &str| serde_json::json!({"source": {"cpu": cpu, "memory": "cgroup", "network": "none"}});
        let told = super::sources(&[usage("bpf"), usage("proc"), usage("bpf")]);
        assert_eq!(told, "measured by: bpf and proc (CPU), cgroup (memory), none (network)");
    }
}
