//! Containers in containers: started for whoever calls, watched until they end, found again after a restart. The node
//! knows nothing of them: they are an executor's own business, and end with it.
//!
//! ```text
//!   LAUNCH -> plan -> prepare -> note -> fetch -> start -> watch -> end -> settle      WAIT answers
//!                                                            |                  |
//!                            KILL, a session's connection ---+         REMOVE forgets it
//! ```

use crate::cgroup::knobs::Limits;
use crate::containerizer::limits::limits_within;
use crate::containerizer::nested::{self, Place};
use crate::containerizer::plan::Plan;
use crate::containerizer::service::{Remembered, Running};
use crate::containerizer::streams::Io;
use crate::http::NestedView;
use crate::images::Said;
use crate::node::input::{OutOfMemory, Termination};
use crate::node::limitation;
use crate::runtime::containers::{Container, chain, limited_share, wait_status};
use crate::runtime::switchboard::Switchboard;
use crate::runtime::{Agent, increment};
use crate::sys::pidfd::{Ended, Exit};
use api::convert::resources::Format;
use api::refusal::Refusal;
use api::v1;
use api::v1::agent::Call;
use api::v1::agent::response::WaitContainer;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use tokio::sync::{Notify, oneshot};

/// A nested container, from the agent's side; it stays until it is removed, or that is over in which it is.
pub(crate) struct Nested {
    pub(crate) place: Place,
    pub(crate) plan: Plan,
    pub(crate) is_session: bool,
    running: OnceCell<Running>,
    /// Where its input and output pass through the agent.
    board: OnceCell<Rc<Switchboard>>,
    /// How it ended, and everything in it.
    end: OnceCell<Ended>,
    /// That a limit of its own ended it; set before `end`.
    limitation: OnceCell<WaitContainer>,
    ended: Notify,
    destroy: Notify,
    was_destroyed: Cell<bool>,
}

/// Told who names limits (`LAUNCH_CONTAINER`) that nothing would hold. Mesos' agent says nothing of it.
const SHARES_CGROUPS: &str =
    "'launch_container.limits' may only be set when 'share_cgroups' is set to 'false'";

/// What LAUNCH comes to.
pub(crate) enum Launched {
    /// A session has an owner.
    Now(Rc<Nested>, Option<Owner>),
    /// It was, by an earlier call; it may even have ended.
    Before,
}

/// With whom a session ends.
pub(crate) struct Owner(Rc<Nested>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.destroy();
        if let Some(board) = self.0.board.get() {
            board.let_go();
        }
    }
}

/// A container that somebody asks about.
pub(crate) enum Found {
    /// An executor's.
    Top(Rc<Container>),
    Nested(Rc<Nested>),
}

impl Nested {
    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    pub(crate) fn board(&self) -> Option<&Rc<Switchboard>> {
        self.board.get()
    }

    /// Everything of it is killed. Calling it again is harmless.
    pub(crate) fn destroy(&self) {
        self.was_destroyed.set(true);
        self.destroy.notify_one();
    }

    pub(crate) async fn wait(&self) -> Ended {
        loop {
            let changed = self.ended.notified();
            if let Some(end) = self.end.get() {
                return *end;
            }
            changed.await;
        }
    }
}

impl Agent {
    pub(crate) async fn find_place(&self, place: &Place) -> Option<Found> {
        self.until_found(place).await;
        self.known_place(place)
    }

    fn known_place(&self, place: &Place) -> Option<Found> {
        if place.is_nested() {
            return self.nested.borrow().get(place).cloned().map(Found::Nested);
        }
        self.containers.borrow().get(&place.root()).cloned().map(Found::Top)
    }

    /// Returns when what an earlier life of the agent knew of that executor's containers is known again.
    async fn until_found(&self, place: &Place) {
        let container = self.containers.borrow().get(&place.root()).cloned();
        if let Some(container) = container {
            container.until_found().await;
        }
    }

    /// Goes on though the caller stops waiting.
    pub(crate) async fn launch_nested(self: &Rc<Self>, call: Call) -> Result<Launched, Refusal> {
        let (place, ..) = parts(&call).ok_or(Refusal::UnknownCall)?;
        self.until_found(&place).await;
        let image = self.image_of(place.parent()).await;
        if self.nested.borrow().contains_key(&place) {
            return Ok(Launched::Before);
        }
        let nested = self.plan_nested(&call, image.as_ref())?;
        self.nested.borrow_mut().insert(place, nested.clone());
        // A caller who goes before it has an answer leaves no session behind.
        let owner = nested.is_session.then(|| Owner(nested.clone()));
        let (told, hears) = oneshot::channel();
        let (agent, launching) = (self.clone(), nested.clone());
        tokio::task::spawn_local(async move {
            let started = agent.start_nested(&launching, &call).await;
            if let Err(why) = &started {
                tracing::info!(container = %launching.place, why, "nested container cannot be launched");
                agent.nested.borrow_mut().remove(&launching.place);
                agent.end_nested(&launching, Ended { exit: Exit::Unknown, usage: None });
            }
            let is_started = started.is_ok();
            _ = told.send(started);
            if is_started {
                agent.watch_nested(launching);
            }
        });
        let started = hears.await.expect("it is told of every launch");
        started.map_err(Refusal::Bad).map(|()| Launched::Now(nested, owner))
    }

    fn plan_nested(self: &Rc<Self>, call: &Call, image: Option<&Said>) -> Result<Rc<Nested>, Refusal> {
        let bad = |why: String| Refusal::Bad(why);
        let (place, command, container) = parts(call).ok_or(Refusal::UnknownCall)?;
        let Some(parent) = place.parent() else {
            return Err(bad("Containers without a parent are launched for executors only".to_owned()));
        };
        let parent = self.parent_plan(&parent).map_err(bad)?;
        let is_session = call.r#type() == v1::agent::call::Type::LaunchNestedContainerSession;
        let plan = nested::plan(&nested::Nested {
            place: &place,
            parent: &parent,
            command: &command,
            container: container.as_ref(),
            image,
            is_session,
            switch_user: self.config.switches_user(),
            has_mounts: self.isolation.filesystem,
            limits: self.own_limits(call, container.as_ref()).map_err(bad)?,
        });
        Ok(Rc::new(Nested {
            place,
            plan: plan.map_err(|error| bad(chain(&error)))?,
            is_session,
            running: OnceCell::new(),
            board: OnceCell::new(),
            end: OnceCell::new(),
            limitation: OnceCell::new(),
            ended: Notify::new(),
            destroy: Notify::new(),
            was_destroyed: Cell::new(false),
        }))
    }

    /// Of a container that is to be held by itself; only of such a one may limits be named.
    fn own_limits(
        &self,
        call: &Call,
        container: Option<&v1::ContainerInfo>,
    ) -> Result<Option<Limits>, String> {
        let launch = call.launch_container.as_ref();
        let names_limits = launch.is_some_and(|launch| !launch.limits.is_empty());
        match nested::has_own_limits(container) {
            false if names_limits => Err(SHARES_CGROUPS.to_owned()),
            false => Ok(None),
            true => {
                let resources = launch.map_or(&[][..], |launch| &launch.resources);
                let resources = api::convert::resources::from_v1(resources).map_err(|error| chain(&error))?;
                let limit = |name: &str| Some(launch?.limits.get(name)?.value);
                Ok(Some(limits_within(&limited_share(resources, limit), &self.limit_policy())))
            }
        }
    }

    /// What the container was made by that something is to be nested in: it has to be there, and to stay.
    fn parent_plan(self: &Rc<Self>, parent: &Place) -> Result<Plan, String> {
        let missing = || format!("Parent container {parent} does not exist");
        let ending = || format!("Parent container {parent} is in 'DESTROYING' state");
        let root = self.containers.borrow().get(&parent.root()).cloned().ok_or_else(missing)?;
        if root.is_ending() {
            return Err(ending());
        }
        if !parent.is_nested() {
            root.running().ok_or_else(missing)?;
            return self.plan_of(&root);
        }
        let parent = self.nested.borrow().get(parent).cloned().ok_or_else(missing)?;
        if parent.end.get().is_some() {
            return Err(missing());
        }
        if parent.was_destroyed.get() {
            return Err(ending());
        }
        parent.running.get().ok_or_else(missing)?;
        Ok(parent.plan.clone())
    }

    async fn start_nested(self: &Rc<Self>, nested: &Nested, call: &Call) -> Result<(), String> {
        tracing::info!(container = %nested.place, "launching nested container");
        let mut plan = nested.plan.clone();
        self.provide_root(&mut plan).await?;
        let started = self.start_planned_nested(nested, plan, call).await;
        if started.is_err() {
            self.withdraw_root(&nested.plan.container_id).await;
        }
        started
    }

    async fn start_planned_nested(&self, nested: &Nested, plan: Plan, call: &Call) -> Result<(), String> {
        let containerizer = &self.containerizer;
        let prepared = containerizer.prepare(plan).await.map_err(|error| chain(&error))?;
        let noted = containerizer.note(&prepared.container_id, api::protobuf::encode(call).into()).await;
        let fetched = match noted {
            Err(error) => Err(format!("what it is made from cannot be written down: {error}")),
            Ok(()) => tokio::select! {
                fetched = containerizer.fetch(&prepared) => fetched.map_err(|error| chain(&error)),
                () = nested.destroy.notified() => Err("Container destroyed while fetching".to_owned()),
            },
        };
        if let Err(why) = fetched {
            if let Err(error) = containerizer.abandon(prepared).await {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(cause, "cgroup of a container that never was stays");
            }
            self.remove_sandbox(nested).await;
            return Err(why);
        }
        let started = match nested.place.parent().and_then(|parent| self.known_place(&parent)) {
            Some(Found::Top(parent)) => containerizer.start_in(prepared, parent.running()).await,
            Some(Found::Nested(parent)) => containerizer.start_in(prepared, parent.running.get()).await,
            None => containerizer.start(prepared).await,
        };
        let running = started.map_err(|error| chain(&error));
        let running = match running {
            Ok(running) => running,
            Err(why) => {
                self.remove_sandbox(nested).await;
                return Err(why);
            }
        };
        let switched = running.take_switched();
        let _ = nested.running.set(running);
        if let Some(switched) = switched {
            // Unless its owner has gone already.
            let waits = nested.is_session && !nested.was_destroyed.get();
            match Switchboard::start(switched, waits) {
                Ok(board) => _ = nested.board.set(board),
                // Out of descriptors, most likely. Nobody would read what it writes.
                Err(error) => {
                    tracing::error!(%error, container = %nested.place, "input and output cannot be watched");
                    nested.destroy();
                }
            }
        }
        Ok(())
    }

    /// Until nothing of it is left; a small task of its own, as for a container that is not nested.
    fn watch_nested(self: &Rc<Self>, nested: Rc<Nested>) {
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let running = nested.running.get().expect("it was started or found");
            tokio::select! {
                _ = running.wait() => {}
                () = nested.destroy.notified() => nested.was_destroyed.set(true),
            }
            Box::pin(agent.finish_nested(&nested, running)).await;
        });
    }

    async fn finish_nested(self: &Rc<Self>, nested: &Nested, running: &Running) {
        let within = self.nested_in(&nested.place);
        within.iter().for_each(|it| it.destroy());
        let mut ended = self.kill_all(running).await;
        for it in within {
            it.wait().await;
        }
        self.note_limitation(nested, running).await;
        // Its limit ends all of it, and init, who would tell, with it.
        let was_killed = nested.was_destroyed.get() || nested.limitation.get().is_some();
        if ended.exit == Exit::Unknown && was_killed {
            ended.exit = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        }
        self.remove(running).await;
        self.withdraw_root(&nested.plan.container_id).await;
        self.containerizer.settle(&nested.plan.container_id, ended).await;
        tracing::info!(container = %nested.place, exit = %ended.exit, "nested container ended");
        self.end_nested(nested, ended);
        if let Some(board) = nested.board.get() {
            board.close();
        }
    }

    /// Whether it was a limit of its own that ended it. Its outermost's limit ends that with all that is nested in it.
    async fn note_limitation(&self, nested: &Nested, running: &Running) {
        if nested.plan.limits.is_none() || nested.limitation.get().is_some() {
            return;
        }
        let Some(met) = self.containerizer.memory_met(running).await else { return };
        if met.limit_met_count == 0 || met.kills_count == 0 {
            return;
        }
        let told = limitation::out_of_memory(&OutOfMemory {
            limit_met_count: met.limit_met_count,
            kills_count: met.kills_count,
            limit_bytes: met.limit_bytes,
            peak_bytes: met.peak_bytes.or(met.limit_bytes).unwrap_or_default(),
            // It is not measured by itself.
            anon_bytes: 0,
            file_bytes: 0,
            kernel_bytes: 0,
        });
        let told = termination(&told);
        let container_id = &nested.plan.container_id;
        let noted = self.containerizer.tell_limitation(container_id, api::protobuf::encode(&told).into());
        if let Err(error) = noted.await {
            tracing::warn!(%error, container = %nested.place, "which limit ended a container is not written down");
        }
        let _ = nested.limitation.set(told);
    }

    fn end_nested(&self, nested: &Nested, ended: Ended) {
        let _ = nested.end.set(ended);
        nested.ended.notify_waiters();
    }

    fn nested_in(&self, place: &Place) -> Vec<Rc<Nested>> {
        self.nested.borrow().values().filter(|it| it.place.is_within(place)).cloned().collect()
    }

    /// Those that have not ended, for people to look at.
    pub(super) fn nested_views(&self) -> Vec<NestedView> {
        let nested = self.nested.borrow();
        let live = nested.values().filter(|nested| nested.end.get().is_none());
        let view = |nested: &Rc<Nested>| NestedView {
            container_id: nested.place.to_v1(),
            pid: nested.running.get().map(|running| running.pid).filter(|pid| *pid > 0),
        };
        live.map(view).collect()
    }

    /// Begins to end all that is nested in an executor's container; nothing new comes, for that is ending.
    pub(super) fn destroy_nested(&self, root: &Container) {
        self.nested_in(&Place::top(&root.run.container_id)).iter().for_each(|nested| nested.destroy());
    }

    /// Returns when all of it has ended, and is forgotten.
    pub(super) async fn until_none_nested(&self, root: &Container) {
        for nested in self.nested_in(&Place::top(&root.run.container_id)) {
            nested.wait().await;
            self.nested.borrow_mut().remove(&nested.place);
        }
    }

    /// `signal`: SIGKILL ends everything in it; any other goes to its program. False where nothing of it runs.
    pub(crate) async fn kill_place(&self, place: &Place, signal: i32) -> Result<bool, Refusal> {
        let is_end = signal == libc::SIGKILL;
        let send = |running: &Running| match running.signal(signal) {
            Ok(()) => Ok(true),
            Err(error) => {
                Err(Refusal::Bad(format!("Unable to send signal {signal} to container {place}: {error}")))
            }
        };
        match self.find_place(place).await {
            None => Ok(false),
            Some(Found::Top(top)) if is_end => {
                self.destroy(&top.run.container_id);
                Ok(true)
            }
            Some(Found::Top(top)) => top.running().map_or(Ok(false), send),
            Some(Found::Nested(nested)) if nested.end.get().is_some() => Ok(false),
            Some(Found::Nested(nested)) => match nested.running.get() {
                Some(running) if !is_end => send(running),
                // What does not run yet must not begin to.
                _ => {
                    nested.destroy();
                    Ok(true)
                }
            },
        }
    }

    /// How it ended, and for which limit, as WAIT tells it. `None`: there is no such container.
    pub(crate) async fn wait_place(&self, place: &Place) -> Option<WaitContainer> {
        let (ended, limitation) = match self.find_place(place).await? {
            Found::Nested(nested) => (nested.wait().await, nested.limitation.get().cloned()),
            Found::Top(top) => (top.running()?.wait().await, None),
        };
        Some(WaitContainer { exit_status: wait_status(ended.exit), ..limitation.unwrap_or_default() })
    }

    /// Forgets a nested container that has ended, with its sandbox and all that were nested in it. One that is not known,
    /// of a container that is, was forgotten before.
    pub(crate) async fn remove_place(&self, place: &Place) -> Result<(), Refusal> {
        self.until_found(place).await;
        let failed = |why: &str| Err(Refusal::Bad(why.to_owned()));
        if !self.containers.borrow().contains_key(&place.root()) {
            return failed("Unknown root container");
        }
        let Some(nested) = self.nested.borrow().get(place).cloned() else { return Ok(()) };
        if nested.end.get().is_none() {
            return failed("Nested container has not terminated yet");
        }
        for within in self.nested_in(place) {
            self.nested.borrow_mut().remove(&within.place);
        }
        self.remove_sandbox(&nested).await;
        if let Err(error) = self.containerizer.forget(&nested.plan.container_id).await {
            return failed(&format!("Failed to remove the runtime directory: {error}"));
        }
        self.nested.borrow_mut().remove(place);
        Ok(())
    }

    async fn remove_sandbox(&self, nested: &Nested) {
        let Some(outermost) = nested.plan.nested_in.clone() else { return };
        if let Err(error) = self.containerizer.remove_sandbox(outermost, nested.plan.sandbox.clone()).await {
            increment(&self.counts.destroy_errors);
            tracing::warn!(cause = &error as &dyn std::error::Error, "sandbox of a nested container stays");
        }
    }

    /// Those that an earlier life of the agent launched in this container.
    pub(super) async fn find_nested(self: &Rc<Self>, root: &Rc<Container>) {
        let mut above = vec![Place::top(&root.run.container_id)];
        while let Some(parent) = above.pop() {
            let noted = self.containerizer.noted(&parent.container_id()).await;
            // Only who has something in it is asked for its image.
            let image = if noted.is_empty() { None } else { self.image_of(Some(parent.clone())).await };
            for (name, call) in noted {
                let call = api::protobuf::decode::<Call>(&call).ok();
                let planned = call.and_then(|call| self.plan_nested(&call, image.as_ref()).ok());
                match planned.filter(|nested| parent.with(&name).as_ref() == Some(&nested.place)) {
                    Some(nested) => {
                        above.push(nested.place.clone());
                        self.reattach_nested(nested).await;
                    }
                    None => tracing::warn!(%parent, name, "a nested container is not known again"),
                }
            }
        }
    }

    /// The switchboard of a container that an earlier life of the agent started.
    pub(super) async fn reopen(&self, running: &Running, plan: &Plan) -> Option<Rc<Switchboard>> {
        if !matches!(plan.io, Io::Terminal(_)) {
            return None;
        }
        let failed = |cause: &dyn std::error::Error| {
            let container = &running.container_id;
            tracing::warn!(cause = %chain(cause), %container, "nobody can be attached to a container's terminal");
        };
        let switched = self.containerizer.reopen(running, plan.nested_in.clone()).await;
        let switched = switched.inspect_err(|error| failed(error)).ok()??;
        Switchboard::start(switched, false).inspect_err(|error| failed(error)).ok()
    }

    async fn reattach_nested(self: &Rc<Self>, nested: Rc<Nested>) {
        let remembered = Remembered {
            container_id: nested.plan.container_id.clone(),
            sandbox: nested.plan.sandbox.clone(),
            pid: None,
        };
        let limitation = self.containerizer.limitation(&nested.plan.container_id).await;
        if let Some(told) = limitation.and_then(|told| api::protobuf::decode(&told).ok()) {
            let _ = nested.limitation.set(told);
        }
        self.nested.borrow_mut().insert(nested.place.clone(), nested.clone());
        let running = match self.containerizer.reattach(&remembered).await {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(cause = &error as &dyn std::error::Error, container = %nested.place, "nested container cannot be watched again");
                return self.end_nested(&nested, Ended { exit: Exit::Unknown, usage: None });
            }
        };
        if let Some(board) = self.reopen(&running, &nested.plan).await {
            let _ = nested.board.set(board);
        }
        let _ = nested.running.set(running);
        if nested.is_session {
            // Whose it was lost it with the agent.
            nested.destroy();
        }
        self.watch_nested(nested);
    }
}

/// Of a call that launches a container in another.
fn parts(call: &Call) -> Option<(Place, v1::CommandInfo, Option<v1::ContainerInfo>)> {
    use v1::agent::call::Type;
    let (id, command, container) = match call.r#type() {
        Type::LaunchNestedContainer => {
            let launch = call.launch_nested_container.as_ref()?;
            (&launch.container_id, &launch.command, &launch.container)
        }
        Type::LaunchContainer => {
            let launch = call.launch_container.as_ref()?;
            (&launch.container_id, &launch.command, &launch.container)
        }
        Type::LaunchNestedContainerSession => {
            let launch = call.launch_nested_container_session.as_ref()?;
            (&launch.container_id, &launch.command, &launch.container)
        }
        _ => return None,
    };
    Some((Place::of(id), command.clone().unwrap_or_default(), container.clone()))
}

/// In the form in which WAIT tells it.
fn termination(told: &Termination) -> WaitContainer {
    let resources = api::convert::resources::to_v1(&told.limited, Format::PLAIN);
    WaitContainer {
        exit_status: None,
        state: Some(api::convert::status::state_to_v1(told.state).into()),
        reason: i32::try_from(told.reason.0).ok(),
        limitation: Some(v1::TaskResourceLimitation { resources }),
        message: Some(told.message.to_string()),
    }
}
