//! The older paths by which operators plan: a schedule is posted to `/maintenance/schedule`, lists of machines to
//! `/machine/down` and `/machine/up`. What they ask is what the operator API's calls ask.

use super::operator;
use super::serve::{App, body, refuse};
use crate::cluster::input::OperatorCall;
use crate::driver::Command;
use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::v1::maintenance::Schedule;
use api::v1::master::call::StartMaintenance;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::Method;

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Schedule,
    Down,
    Up,
}

pub(super) async fn answer(app: &App, request: Request, change: Change) -> Response {
    serve(app, request, change).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn serve(app: &App, request: Request, change: Change) -> Result<Response, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::Method { allowed: "POST", got: request.method().to_string() });
    }
    let call = read(change, &body(request).await?)?;
    // 200, and nothing to read.
    app.ask(|caller| Command::Operator { call, caller }).await.map(|_| Response::default())
}

/// As in Mesos it is JSON, whatever the headers say.
fn read(change: Change, body: &Bytes) -> Result<OperatorCall, Refusal> {
    match change {
        Change::Schedule => operator::schedule(&media::decode::<Schedule>(Encoding::Json, body)?),
        Change::Down => operator::machines(true, &list(body)?),
        Change::Up => operator::machines(false, &list(body)?),
    }
}

/// A list of machines: what the operator API has as a member.
fn list(body: &Bytes) -> Result<Vec<api::v1::MachineId>, Refusal> {
    let text = body.trim_ascii();
    if !text.starts_with(b"[") {
        return Err(Refusal::NotJson("a list of machines is expected".into()));
    }
    let whole = [br#"{"machines":"#, text, b"}"].concat();
    Ok(media::decode::<StartMaintenance>(Encoding::Json, &whole.into())?.machines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::maintenance::MachineId;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn a_list_is_what_the_call_takes() {
        let machines = vec![MachineId::new("a", Some([10, 0, 0, 1].into())), MachineId::new("b", None)];
        let body = bytes(r#" [{"hostname": "a", "ip": "10.0.0.1"}, {"hostname": "b"}] "#);
        let down = OperatorCall::StartMaintenance { machines: machines.clone() };
        assert_eq!(read(Change::Down, &body), Ok(down));
        assert_eq!(read(Change::Up, &body), Ok(OperatorCall::StopMaintenance { machines }));
        for bad in ["", "{}", "[", "[1]", "[]", r#"[{}]"#, r#"{"machines":[{"hostname":"a"}]}"#] {
            assert_eq!(read(Change::Down, &bytes(bad)).expect_err("refused").status(), 400, "{bad}");
        }
    }

    #[test]
    fn a_schedule_is_read_from_its_document() {
        let body = r#"{"windows":[{"machine_ids":[{"hostname":"a"}],"unavailability":{"start":{"nanoseconds":7}}}]}"#;
        let OperatorCall::UpdateSchedule { windows } = read(Change::Schedule, &bytes(body)).expect("read")
        else {
            panic!("another call")
        };
        assert_eq!((windows.len(), windows[0].unavailability.start_ns), (1, 7));
        let none = read(Change::Schedule, &bytes("{}"));
        assert_eq!(none, Ok(OperatorCall::UpdateSchedule { windows: vec![] }));
        assert!(read(Change::Schedule, &bytes("[]")).is_err());
    }
}
