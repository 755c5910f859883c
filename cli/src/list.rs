//! `ingot agents`, `frameworks`, `tasks`: what the master's endpoints of these names say, as a table or as it is.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::table::{self, Table};
use crate::{Cluster, text};

/// How to show a list.
#[derive(clap::Args)]
pub(crate) struct Format {
    /// Print the master's own JSON.
    #[arg(long)]
    json: bool,
}

/// Which tasks to show, and how.
#[derive(clap::Args)]
pub(crate) struct Tasks {
    #[command(flatten)]
    format: Format,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

pub(crate) async fn agents(cluster: &Cluster, format: &Format) -> Result<ExitCode> {
    let answer = cluster.operator().get_json("/slaves").await?;
    let head = ["ID", "HOST", "ADDRESS", "STATE", "CPUS", "MEM", "DISK"];
    show(format, &answer["slaves"], &head, |agent| {
        let pid = text(agent, "pid")?;
        let (all, used) = (&agent["resources"], &agent["used_resources"]);
        Ok(vec![
            text(agent, "id")?.to_owned(),
            text(agent, "hostname")?.to_owned(),
            pid.rsplit('@').next().unwrap_or(pid).to_owned(),
            if agent["active"] == true { "active" } else { "inactive" }.to_owned(),
            used_of(used, all, "cpus"),
            used_of(used, all, "mem"),
            used_of(used, all, "disk"),
        ])
    })
}

pub(crate) async fn frameworks(cluster: &Cluster, format: &Format) -> Result<ExitCode> {
    let mut answer = cluster.operator().get_json("/frameworks").await?;
    if format.json {
        return print_json(&answer);
    }
    let mut all = answer["frameworks"].take();
    if let (Value::Array(all), Value::Array(completed)) = (&mut all, answer["completed_frameworks"].take()) {
        all.extend(completed);
    }
    let head = ["ID", "NAME", "USER", "ROLES", "STATE", "TASKS", "CPUS", "MEM"];
    show(format, &all, &head, |framework| {
        let state = match (framework["active"] == true, framework["connected"] == true) {
            (true, _) => "active",
            (false, true) => "inactive",
            // A completed framework is neither, and has an end.
            (false, false) if framework["unregistered_time"].as_f64() > Some(0.0) => "completed",
            (false, false) => "disconnected",
        };
        let roles = match &framework["roles"] {
            Value::Array(roles) => roles.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            _ => framework["role"].as_str().unwrap_or("*").to_owned(),
        };
        Ok(vec![
            text(framework, "id")?.to_owned(),
            text(framework, "name")?.to_owned(),
            framework["user"].as_str().unwrap_or_default().to_owned(),
            roles,
            state.to_owned(),
            framework["tasks"].as_array().map_or(0, Vec::len).to_string(),
            number(&framework["used_resources"]["cpus"]),
            number(&framework["used_resources"]["mem"]),
        ])
    })
}

pub(crate) async fn tasks(cluster: &Cluster, args: &Tasks) -> Result<ExitCode> {
    let mut operator = cluster.operator();
    let answer = operator.get_json(&format!("/tasks?limit={}", args.limit)).await?;
    if args.format.json {
        return print_json(&answer);
    }
    let agents = operator.get_json("/slaves").await?;
    let host = |id: &str| {
        let agents = agents["slaves"].as_array().into_iter().flatten();
        agents
            .into_iter()
            .find(|it| it["id"] == id)
            .and_then(|it| it["hostname"].as_str())
            .unwrap_or(id)
            .to_owned()
    };
    let head = ["TASK", "STATE", "NODE", "CPU-S", "MEM PEAK", "NET IN", "NET OUT", "FRAMEWORK"];
    show(&args.format, &answer["tasks"], &head, |task| {
        let usage = &task["ingot"]["usage"];
        // A dash where nothing was measured: a zero would claim that something was.
        let shown = |field: &str, show: fn(u64) -> String| usage[field].as_u64().map_or("-".to_owned(), show);
        let network = |field| {
            if usage["source"]["network"] == "none" { "-".to_owned() } else { shown(field, table::bytes) }
        };
        Ok(vec![
            text(task, "id")?.to_owned(),
            text(task, "state")?.to_owned(),
            host(text(task, "slave_id")?),
            shown("cpu_ns", table::seconds),
            shown("mem_peak_bytes", table::bytes),
            network("net_rx_bytes"),
            network("net_tx_bytes"),
            text(task, "framework_id")?.to_owned(),
        ])
    })
}

fn show(
    format: &Format,
    list: &Value,
    head: &[&'static str],
    row: impl Fn(&Value) -> Result<Vec<String>>,
) -> Result<ExitCode> {
    if format.json {
        return print_json(list);
    }
    let mut table = Table::new(head);
    for item in list.as_array().context("the master's answer holds no list")? {
        table.row(row(item)?);
    }
    table.print(&mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &Value) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

fn used_of(used: &Value, all: &Value, name: &str) -> String {
    format!("{}/{}", number(&used[name]), number(&all[name]))
}

/// A scalar as an operator writes it: no more decimals than it has.
fn number(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |it| format!("{}", (it * 1_000.0).round() / 1_000.0))
}
