//! `ingot drain`, `deactivate`, `reactivate`, `gone`: agents taken out of use, and back.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Cluster, text};

/// How often it is looked at whether an agent is drained.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Agent {
    /// The agent's id, as `ingot agents` lists it, or its hostname where only one agent has it.
    agent: String,
}

#[derive(clap::Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    agent: Agent,
    /// Seconds that tasks have at most to end by themselves, whatever their own policy gives them.
    #[arg(long, value_name = "SECONDS")]
    max_grace: Option<u64>,
    /// Mark the agent gone when it is drained: it cannot come back.
    #[arg(long)]
    mark_gone: bool,
    /// Return when no task is left on it.
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn drain(cluster: &Cluster, args: &Drain) -> Result<ExitCode> {
    let id = find(cluster, &args.agent.agent).await?;
    let mut call = json!({"agent_id": {"value": id}, "mark_gone": args.mark_gone});
    if let Some(seconds) = args.max_grace {
        call["max_grace_period"] = json!({"seconds": seconds});
    }
    let call = json!({"type": "DRAIN_AGENT", "drain_agent": call});
    cluster.operator().call("/api/v1", &call).await?;
    while args.wait && !is_drained(cluster, &id).await? {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// A call that names an agent and nothing else; its member has its name.
pub(crate) async fn change(cluster: &Cluster, args: &Agent, kind: &str) -> Result<ExitCode> {
    let id = find(cluster, &args.agent).await?;
    let call = json!({"type": kind, kind.to_lowercase(): {"agent_id": {"value": id}}});
    cluster.operator().call("/api/v1", &call).await?;
    Ok(ExitCode::SUCCESS)
}

/// One that is not registered is meant by its id: it may come back.
async fn find(cluster: &Cluster, named: &str) -> Result<String> {
    let agents = cluster.operator().get_json("/slaves").await?;
    let list = agents["slaves"].as_array().context("the answer lacks `slaves`")?;
    if list.iter().any(|it| it["id"] == named) {
        return Ok(named.to_owned());
    }
    let mut of_host = list.iter().filter(|it| it["hostname"] == named);
    match (of_host.next(), of_host.next()) {
        (Some(one), None) => Ok(text(one, "id")?.to_owned()),
        (Some(_), Some(_)) => bail!("several agents are at {named}; name one by its id (see: ingot agents)"),
        (None, _) => Ok(named.to_owned()),
    }
}

/// One that is gone is, too.
async fn is_drained(cluster: &Cluster, id: &str) -> Result<bool> {
    let agents = cluster.operator().get_json("/slaves").await?;
    let mut list = agents["slaves"].as_array().into_iter().flatten();
    let state = |it: &Value| it["drain_info"]["state"].clone();
    Ok(list.find(|it| it["id"] == id).map(state).is_none_or(|state| state == "DRAINED"))
}
