//! A leader that is killed, the one that follows it, real agents that find it through ZooKeeper, and a framework that does:
//! from the kill to the framework's first offer.

use std::time::Duration;

use anyhow::{Context, bail};
use client::scheduler::{self, Events, Incoming};
use client::{Address, Encoding};
use leader::detector;
use leader::info::Info;
use leader::url::ZookeeperUrl;
use sim::processes::zookeeper::Zookeeper;
use sim::processes::{Several, SeveralOptions};
use tokio::sync::watch;

use super::Arguments;
use crate::report::Report;
use crate::{clock, daemons};

/// For all agents to be back, and offered.
const OFFER_MAX: Duration = Duration::from_secs(60);
/// Before a master is asked again that is not ready.
const AGAIN: Duration = Duration::from_millis(20);

/// The longest of some.
pub(super) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<Duration> {
    let programs = daemons::programs()?;
    let server = Zookeeper::start(1, arguments.tick_ms)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let times = runtime.block_on(async {
        let url = server.url("bench");
        let session = format!("--zk_session_timeout={}ms", arguments.session_timeout_ms);
        let options = SeveralOptions {
            programs,
            url: url.clone(),
            masters: 2,
            agents: arguments.failover_agents,
            asking_agents: 0,
            resources: "cpus:4;mem:1024".into(),
            master_flags: vec![session],
            agent_flags: Vec::new(),
        };
        let mut cluster = Several::start(options).await?;
        cluster.start_agents().await?;
        measure(&mut cluster, &url.parse()?, arguments.failovers).await
    })?;
    let steps = ["until another leads, ms", "until the framework is back, ms", "until the first offer, ms"];
    for (at, step) in steps.into_iter().enumerate() {
        let ms: Vec<_> = times.iter().map(|steps| steps[at].as_secs_f64() * 1e3).collect();
        report.detail(step, ms);
    }
    times.into_iter().map(|steps| steps[2]).max().context("no failover was asked for")
}

async fn measure(
    cluster: &mut Several,
    url: &ZookeeperUrl,
    count: usize,
) -> anyhow::Result<Vec<[Duration; 3]>> {
    let mut leading = detector::watch(url.clone())?;
    let mut info = scheduler::framework("ingot-bench", "*")?;
    let mut times = Vec::new();
    for _ in 0..count {
        let at = cluster.until_registered().await?;
        let (mut calls, mut events) = subscribe(&mut leading, None, &info).await?;
        info.id = calls.framework_id();
        first_offer(&mut events).await?;
        let old = leading.borrow().clone();
        let began = clock::now();
        cluster.kill_master(at);
        // As any framework that finds its master in ZooKeeper: it subscribes with whom is named there next.
        next_leader(&mut leading, &old).await?;
        let elected = began.elapsed();
        (calls, events) = subscribe(&mut leading, old, &info).await?;
        let subscribed = began.elapsed();
        first_offer(&mut events).await?;
        times.push([elected, subscribed, began.elapsed()]);
        drop(calls);
        cluster.start_master(at)?;
    }
    Ok(times)
}

/// Who leads, if it is another than that.
async fn next_leader(
    leading: &mut watch::Receiver<Option<Info>>,
    but: &Option<Info>,
) -> anyhow::Result<Info> {
    let new = leading.wait_for(|now| now.is_some() && now != but);
    let leader = tokio::time::timeout(OFFER_MAX, new).await.context("no other leads")??.clone();
    leader.context("waited for")
}

/// With the leader, if it is another than that.
async fn subscribe(
    leading: &mut watch::Receiver<Option<Info>>,
    but: Option<Info>,
    info: &api::v1::FrameworkInfo,
) -> anyhow::Result<(scheduler::Calls, Events)> {
    let place = next_leader(leading, &but).await?.place();
    let address = Address { host: place.host, port: place.port };
    let end = clock::now() + OFFER_MAX;
    loop {
        let (calls, mut events) = scheduler::connect(address.clone(), info.clone(), Encoding::Protobuf);
        match events.next().await {
            Ok(Incoming::Subscribed(_)) => return Ok((calls, events)),
            other if clock::now() > end => bail!("not subscribed: {other:?}"),
            // It is elected, and has not read the registry yet.
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn first_offer(events: &mut Events) -> anyhow::Result<()> {
    let wait = async {
        loop {
            if let Incoming::Event(event) = events.next().await?
                && event.offers.is_some()
            {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(OFFER_MAX, wait).await.context("no offer came")?
}
