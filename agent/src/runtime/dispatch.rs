//! What the node wants, done.

use crate::containerizer::persistent;
use crate::link::{Link, LinkEvent, Target};
use crate::node::effect::{Effect, Ending, ExecutorEvent};
use crate::node::input::{Input, Session};
use crate::node::volumes::Changes;
use crate::runtime::Agent;
use std::rc::Rc;
use wire::message::ToMaster;

impl Agent {
    pub(super) fn carry_out_all(self: &Rc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out(effect);
        }
        self.deadline_changed.notify_one();
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Dial { session } => self.dial(session),
            Effect::HangUp { session } => self.hang_up(session),
            Effect::Send(message) => self.send(&message),
            Effect::Persist { ticket, record } => {
                self.store
                    .get()
                    .expect("the store is opened before the node starts")
                    .persist(Some(ticket), *record);
            }
            Effect::Launch(launch) => self.launch(*launch),
            Effect::Reattach { run, pid } => self.reattach(run, pid),
            Effect::Resize { container_id } => self.resize(&container_id),
            Effect::Destroy { container_id } => self.destroy(&container_id),
            Effect::Answer { caller, answer } => self.answer.set(Some((caller, answer))),
            Effect::Tell { caller, event } => {
                if matches!(event, ExecutorEvent::Kill { .. } | ExecutorEvent::Shutdown)
                    && let Some(container_id) = self.look(|node| node.listener(caller).cloned())
                {
                    self.spare(&container_id);
                }
                self.tell(caller, &event);
            }
            Effect::Close { caller } => self.close_stream(caller),
            Effect::Retire { run } => {
                tracing::info!(executor = %run.executor_id, container = %run.container_id, "executor is done with");
                self.forget(run.container_id.clone());
                self.retire(run);
            }
            Effect::Volumes(changes) => self.change_volumes(&changes),
            Effect::RetireTask { run, task_id } => self.retire_task(run, task_id),
            Effect::Note { what, about } => tracing::warn!(about, "{what}"),
            Effect::Exit(ending) => {
                *self.exit.borrow_mut() = Some(ending);
                self.exiting.notify_one();
            }
        }
    }

    /// At once, since the task that is to use them may follow; what is gone is deleted beside everything else.
    fn change_volumes(&self, changes: &Changes) {
        let work_dir = self.config.work_dir.clone();
        if let Err(error) = persistent::carry_out(changes, &work_dir) {
            tracing::error!(
                cause = &error as &dyn std::error::Error,
                ?changes,
                "volumes cannot be made or removed"
            );
        }
        tokio::task::spawn_blocking(move || persistent::clear(&work_dir));
    }

    fn dial(self: &Rc<Self>, session: Session) {
        tracing::debug!(master = %self.config.master, "dialling the master");
        let agent = self.clone();
        let link = Link::dial(self.target.clone(), move |event| agent.link_event(session, event));
        self.reports.borrow_mut().session_began();
        *self.link.borrow_mut() = Some((session, link));
    }

    fn hang_up(&self, session: Session) {
        let mut link = self.link.borrow_mut();
        if link.as_ref().is_some_and(|(current, _)| *current == session) {
            tracing::warn!(master = %self.config.master, "the master is silent; hanging up");
            *link = None;
        }
    }

    /// Tells the core of each new leader, as long as the agent lives.
    pub(super) fn watch_leader(self: &Rc<Self>) {
        let Target::Watched(mut leading) = self.target.clone() else { return };
        let agent = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            while leading.wait_for(Option::is_some).await.is_ok() {
                let Some(agent) = agent.upgrade() else { return };
                agent.input(Input::Elected);
                drop(agent);
                if leading.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn link_event(self: &Rc<Self>, session: Session, event: LinkEvent) {
        let was_registered = self.look(|node| node.is_registered());
        match event {
            LinkEvent::Up => self.input(Input::LinkUp { session }),
            LinkEvent::Message(message) => {
                tracing::trace!(?message, "master says");
                self.input(Input::FromMaster { session, message });
            }
            LinkEvent::Down(error) => {
                let cause = &error as &dyn std::error::Error;
                if was_registered {
                    tracing::warn!(cause, "lost the master");
                } else {
                    tracing::info!(cause, "no master yet");
                }
                self.input(Input::LinkDown { session });
            }
        }
    }

    fn send(self: &Rc<Self>, message: &ToMaster) {
        match wire::encode_to_master(message) {
            Ok(frame) => self.send_frame(frame),
            // Nothing an agent says is near the limit, but for an executor's message or update that is.
            Err(error) => tracing::error!(%error, "a message to the master is too long and was dropped"),
        }
    }

    pub(super) fn send_frame(self: &Rc<Self>, frame: Vec<u8>) {
        let overfull = match &*self.link.borrow() {
            Some((session, link)) => (!link.send(frame)).then_some(*session),
            None => None,
        };
        if let Some(session) = overfull {
            tracing::warn!(master = %self.config.master, "the master does not read; hanging up");
            *self.link.borrow_mut() = None;
            let agent = self.clone();
            tokio::task::spawn_local(async move { agent.input(Input::LinkDown { session }) });
        }
    }

    pub(super) fn takes_reports(&self) -> bool {
        self.link.borrow().as_ref().is_some_and(|(_, link)| link.takes_reports())
            && self.look(|node| node.is_registered())
    }

    /// What the process says when it ends, if that is not what was asked for.
    pub(super) fn complaint(ending: &Ending) -> Option<String> {
        match ending {
            Ending::Unregister => None,
            Ending::Refused { reason } => Some(format!("the master refused this agent: {reason}")),
            Ending::WrongId { expected, got } => {
                Some(format!("the master registered this agent as {got}, but it is {expected}"))
            }
        }
    }
}
