//! The older paths by which operators reserve and make volumes: forms posted to `/reserve`, `/unreserve`, `/create-volumes` and
//! `/destroy-volumes`, with an agent's id as `slaveId` and lists of resources in JSON. What they ask is what the operator
//! API's calls ask.

use super::operator;
use super::serve::{App, body, refuse};
use crate::cluster::conversions::Kind;
use crate::cluster::input::OperatorCall;
use crate::driver::Command;
use api::legacy::Query;
use api::refusal::Refusal;
use api::v1;
use api::v1::master::call::CreateVolumes;
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};

/// What a path does; `None` for one that is none of these.
pub(super) fn kind(path: &str) -> Option<Kind> {
    Some(match path {
        "reserve" => Kind::Reserve,
        "unreserve" => Kind::Unreserve,
        "create-volumes" => Kind::Create,
        "destroy-volumes" => Kind::Destroy,
        _ => return None,
    })
}

pub(super) async fn answer(app: &App, request: Request, kind: Kind) -> Response {
    serve(app, request, kind).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn serve(app: &App, request: Request, kind: Kind) -> Result<Response, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::Method { allowed: "POST", got: request.method().to_string() });
    }
    let form = body(request).await?;
    let call = read(kind, &String::from_utf8_lossy(&form))?;
    app.ask(|caller| Command::Operator { call, caller }).await?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Refused in Mesos' words (`src/master/http.cpp`).
fn read(kind: Kind, form: &str) -> Result<OperatorCall, Refusal> {
    let form = Query::parse(form);
    let value = |key: &str| {
        let missing = || Refusal::Bad(format!("Missing '{key}' query parameter in the request body"));
        form.get(key).ok_or_else(missing)
    };
    let agent_id = v1::AgentId { value: value("slaveId")?.to_owned() };
    let list = |key: &str| resources(key, value(key)?);
    let (resources, source) = match kind {
        Kind::Reserve => {
            let source = form.get("source").map(|text| resources("source", text)).transpose()?;
            (list("resources")?, source.unwrap_or_default())
        }
        Kind::Unreserve => (list("resources")?, Vec::new()),
        _ => (list("volumes")?, Vec::new()),
    };
    operator::conversion(kind, &agent_id, &resources, &source)
}

/// A list of resources: what the operator API has as a member.
fn resources(key: &str, text: &str) -> Result<Vec<v1::Resource>, Refusal> {
    let bad = |why: String| {
        Refusal::Bad(format!("Error in parsing '{key}' query parameter in the request body: {why}"))
    };
    if !text.trim_start().starts_with('[') {
        return Err(bad("a list of resources is expected".to_owned()));
    }
    let whole = format!(r#"{{"agent_id": {{"value": ""}}, "volumes": {text}}}"#);
    let call: CreateVolumes =
        api::json::from_slice(whole.as_bytes()).map_err(|error| bad(error.to_string()))?;
    Ok(call.volumes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::master::call::ReserveResources;

    const CPUS: &str = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":2},"reservations":[{"type":"DYNAMIC","role":"eng"}]}]"#;

    #[test]
    fn a_form_is_what_the_call_is() {
        let resources: Vec<v1::Resource> = resources("resources", CPUS).expect("a list");
        let call =
            ReserveResources { agent_id: v1::AgentId { value: "S 1".into() }, resources, source: Vec::new() };
        let expect = operator::conversion(Kind::Reserve, &call.agent_id, &call.resources, &call.source);
        assert_eq!(read(Kind::Reserve, &format!("slaveId=S%201&resources={CPUS}")), expect);
        let escaped = CPUS.replace('"', "%22");
        assert_eq!(read(Kind::Reserve, &format!("resources={escaped}&slaveId=S+1")), expect);
        assert!(expect.is_ok());
    }

    #[test]
    fn what_a_form_lacks_is_told() {
        for (kind, form, says) in [
            (Kind::Reserve, "", "Missing 'slaveId' query parameter in the request body"),
            (Kind::Unreserve, "slaveId=a", "Missing 'resources' query parameter in the request body"),
            (Kind::Create, "slaveId=a&resources=[]", "Missing 'volumes' query parameter in the request body"),
            (Kind::Destroy, "slaveId=a&volumes={}", "Error in parsing 'volumes' query parameter"),
            (Kind::Reserve, "slaveId=a&resources=[]&source=[", "Error in parsing 'source' query parameter"),
        ] {
            let refusal = read(kind, form).expect_err(form);
            assert!(refusal.to_string().starts_with(says), "{refusal}");
            assert_eq!(refusal.status(), 400);
        }
    }
}
