//! The calls of the operator API that act on containers: launched, waited for, killed, removed.

use crate::containerizer::nested::Place;
use crate::containerizer::overrides::Change;
use crate::executor_api::body::{self, Answer};
use crate::http::Order;
use crate::runtime::Agent;
use crate::runtime::nested::{Found, Launched, Owner};
use crate::runtime::switchboard::Switchboard;
use api::legacy::Reply;
use api::media::Body;
use api::refusal::Refusal;
use api::v1;
use api::v1::agent::call::Type;
use api::v1::agent::{Call, Response, response};
use http::StatusCode;
use model::id::ContainerId;
use std::rc::Rc;

/// The call was validated: what its type needs is there.
pub(super) async fn answer(agent: &Rc<Agent>, order: Order) -> Answer {
    let Order { call, kind, wanted } = order;
    let answered = match kind {
        Type::LaunchNestedContainer | Type::LaunchContainer => launch(agent, call).await,
        Type::LaunchNestedContainerSession => session(agent, call, wanted).await,
        Type::WaitNestedContainer | Type::WaitContainer => wait(agent, &call, kind, wanted).await,
        Type::KillNestedContainer | Type::KillContainer => kill(agent, &call).await,
        Type::RemoveNestedContainer | Type::RemoveContainer => remove(agent, &call).await,
        Type::AttachContainerOutput => attach_output(agent, &call, wanted).await,
        Type::UpdateContainerLimits => return update_limits(agent, call).await,
        _ => Err(Refusal::UnknownCall),
    };
    answered.unwrap_or_else(|why| body::refusal(&why))
}

async fn launch(agent: &Rc<Agent>, call: Call) -> Result<Answer, Refusal> {
    Ok(body::empty(match agent.launch_nested(call).await? {
        Launched::Now(..) => StatusCode::OK,
        Launched::Before => StatusCode::ACCEPTED,
    }))
}

/// The container ends with the answer.
async fn session(agent: &Rc<Agent>, call: Call, wanted: Body) -> Result<Answer, Refusal> {
    let Launched::Now(nested, owner) = agent.launch_nested(call).await? else {
        return Ok(body::empty(StatusCode::ACCEPTED));
    };
    match nested.board() {
        Some(board) => Ok(output(board, wanted, owner)),
        None => Err(Refusal::Bad(format!("Container {} has ended", nested.place))),
    }
}

fn output(board: &Rc<Switchboard>, wanted: Body, owner: Option<Owner>) -> Answer {
    // Records they are in any case, as in Mesos; only the headers say so or not.
    let (Body::Single(encoding) | Body::Stream(encoding)) = wanted;
    body::output(board.attach(encoding, owner), wanted)
}

/// Of a container that has one.
pub(super) async fn board(agent: &Rc<Agent>, place: &Place) -> Result<Rc<Switchboard>, Reply> {
    let found = agent.find_place(place).await;
    let board = match &found {
        Some(Found::Nested(nested)) if nested.has_ended() => None,
        Some(Found::Nested(nested)) => Some(nested.board().cloned()),
        Some(Found::Top(top)) => Some(top.board().cloned()),
        None => None,
    };
    let board = board.ok_or_else(|| Reply::text(404, format!("Container {place} cannot be found")))?;
    let without = "I/O switchboard server was disabled for this container";
    board.ok_or_else(|| Reply::text(500, without.to_owned()))
}

async fn wait(agent: &Rc<Agent>, call: &Call, kind: Type, wanted: Body) -> Result<Answer, Refusal> {
    let place = place(call)?;
    let Some(told) = agent.wait_place(&place).await else {
        return Ok(body::reply(Reply::text(404, format!("Container {place} cannot be found"))));
    };
    let mut out = Response::default();
    if kind == Type::WaitContainer {
        out.set_type(response::Type::WaitContainer);
        out.wait_container = Some(told);
    } else {
        let v1::agent::response::WaitContainer { exit_status, state, reason, limitation, message } = told;
        out.set_type(response::Type::WaitNestedContainer);
        out.wait_nested_container =
            Some(response::WaitNestedContainer { exit_status, state, reason, limitation, message });
    }
    let (Body::Single(encoding) | Body::Stream(encoding)) = wanted;
    Ok(body::reply(Reply::message::<Response>(encoding, &out)))
}

async fn kill(agent: &Rc<Agent>, call: &Call) -> Result<Answer, Refusal> {
    let place = place(call)?;
    let nested = call.kill_nested_container.as_ref().and_then(|call| call.signal);
    let signal = nested.or(call.kill_container.as_ref().and_then(|call| call.signal));
    if agent.kill_place(&place, signal.unwrap_or(libc::SIGKILL)).await? {
        return Ok(body::empty(StatusCode::OK));
    }
    let text = format!("Container '{place}' cannot be found (or is already killed)");
    Ok(body::reply(Reply::text(404, text)))
}

async fn remove(agent: &Rc<Agent>, call: &Call) -> Result<Answer, Refusal> {
    let place = place(call)?;
    if !place.is_nested() {
        return Err(Refusal::Bad(
            "Expecting 'remove_container.container_id.parent' to be present".to_owned(),
        ));
    }
    agent.remove_place(&place).await?;
    Ok(body::empty(StatusCode::OK))
}

async fn attach_output(agent: &Rc<Agent>, call: &Call, wanted: Body) -> Result<Answer, Refusal> {
    Ok(match board(agent, &place(call)?).await {
        Ok(board) => output(&board, wanted, None),
        Err(reply) => body::reply(reply),
    })
}

async fn update_limits(agent: &Rc<Agent>, call: Call) -> Answer {
    let asked = call.update_container_limits.expect("validated");
    let limits = asked.limits.into_iter().map(|(name, limit)| (name, limit.value)).collect();
    let change = Change { limits, io_max: asked.io_max, unset: asked.unset };
    match agent.update_limits(&ContainerId::new(&asked.container_id.value), &change).await {
        Ok(()) => body::empty(StatusCode::OK),
        Err(why) => body::reply(Reply::text(why.status(), why.to_string())),
    }
}

/// The container that a call names.
fn place(call: &Call) -> Result<Place, Refusal> {
    let named = match call.r#type() {
        Type::WaitNestedContainer => call.wait_nested_container.as_ref().map(|it| &it.container_id),
        Type::WaitContainer => call.wait_container.as_ref().map(|it| &it.container_id),
        Type::KillNestedContainer => call.kill_nested_container.as_ref().map(|it| &it.container_id),
        Type::KillContainer => call.kill_container.as_ref().map(|it| &it.container_id),
        Type::RemoveNestedContainer => call.remove_nested_container.as_ref().map(|it| &it.container_id),
        Type::RemoveContainer => call.remove_container.as_ref().map(|it| &it.container_id),
        Type::AttachContainerOutput => call.attach_container_output.as_ref().map(|it| &it.container_id),
        _ => None,
    };
    named.map(Place::of).ok_or(Refusal::UnknownCall)
}
