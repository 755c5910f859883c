//! The log lines of what the cluster core finds worth one.

use crate::cluster::note::Note;

/// Writes one note: static event names, ids as fields.
pub(crate) fn log(note: &Note) {
    match note {
        Note::AgentRegistered { agent_id, hostname, resources } => {
            tracing::info!(%agent_id, %hostname, %resources, "agent_registered");
        }
        Note::AgentReregistered { agent_id, hostname, task_count, reconciled_count } => {
            tracing::info!(%agent_id, %hostname, task_count, reconciled_count, "agent_reregistered");
        }
        Note::AgentRefused { session, why } => tracing::warn!(session = session.0, %why, "agent_refused"),
        Note::AgentDisconnected { agent_id } => tracing::warn!(%agent_id, "agent_disconnected"),
        Note::AgentRemoved { agent_id, why, task_count } => {
            tracing::warn!(%agent_id, %why, task_count, "agent_removed");
        }
        Note::Recovered { expected_count, unreachable_count } => {
            tracing::info!(expected_count, unreachable_count, "registry_recovered");
        }
        Note::OffersReleased { missing_count } => tracing::info!(missing_count, "offers_released"),
        Note::AgentDeactivated { agent_id } => tracing::info!(%agent_id, "agent_deactivated"),
        Note::AgentReactivated { agent_id } => tracing::info!(%agent_id, "agent_reactivated"),
        Note::AgentDraining { agent_id, marks_gone } => {
            tracing::info!(%agent_id, marks_gone, "agent_draining");
        }
        Note::MachineScheduled { machine, is_down } => {
            let mode = match is_down {
                None => "UP",
                Some(false) => "DRAINING",
                Some(true) => "DOWN",
            };
            tracing::info!(hostname = machine.hostname(), ip = ?machine.ip(), mode, "machine_scheduled");
        }
        Note::AgentDrained { agent_id } => tracing::info!(%agent_id, "agent_drained"),
        Note::FrameworkSubscribed { framework_id, name, is_new } => {
            tracing::info!(%framework_id, %name, is_new, "framework_subscribed");
        }
        Note::FrameworkRefused { name, why } => tracing::warn!(%name, %why, "framework_refused"),
        Note::FrameworkRecovered { framework_id, agent_id } => {
            tracing::info!(%framework_id, %agent_id, "framework_recovered");
        }
        Note::FrameworkDisconnected { framework_id, failover_timeout_ms } => {
            tracing::info!(%framework_id, failover_timeout_ms, "framework_disconnected");
        }
        Note::FrameworkRemoved { framework_id, why, task_count } => {
            tracing::info!(%framework_id, why, task_count, "framework_removed");
        }
        Note::ReconciliationDropped { framework_id, task_count } => {
            tracing::info!(%framework_id, task_count, "reconciliation_dropped");
        }
        other => log_task(other),
    }
}

fn log_task(note: &Note) {
    match note {
        Note::TaskLaunched { framework_id, task_id, agent_id } => {
            tracing::info!(%framework_id, %task_id, %agent_id, "task_launched");
        }
        Note::TaskRefused { framework_id, task_id, reason, why } => {
            tracing::warn!(%framework_id, %task_id, ?reason, %why, "task_refused");
        }
        Note::TaskUpdated { framework_id, task_id, state } => {
            tracing::info!(%framework_id, %task_id, state = state.as_str(), "task_updated");
        }
        Note::ExecutorExited { framework_id, executor_id, agent_id } => {
            tracing::info!(%framework_id, %executor_id, %agent_id, "executor_exited");
        }
        Note::OffersInvalid { framework_id, why } => tracing::warn!(%framework_id, %why, "offers_invalid"),
        Note::OfferTimedOut { framework_id, offer_id } => {
            tracing::info!(%framework_id, %offer_id, "offer_timed_out");
        }
        Note::OperationDone { framework_id, name, agent_id } => {
            tracing::info!(%framework_id, name, %agent_id, "operation_done");
        }
        Note::OperationRefused { framework_id, name, why } => {
            tracing::warn!(%framework_id, name, %why, "operation_refused");
        }
        Note::Ignored { what, subject, why } => tracing::warn!(what, %subject, why, "ignored"),
        _ => unreachable!("logged by `log`"),
    }
}
