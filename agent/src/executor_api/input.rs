//! ATTACH_CONTAINER_INPUT: a request that lasts as long as somebody types. Its first record says into which container, each
//! further one is for it; the answer comes when the request ends, or the container's output.

use crate::containerizer::nested::Place;
use crate::containerizer::streams::Window;
use crate::executor_api::body::{self, Answer};
use crate::executor_api::{containers, route};
use crate::http::{self as looks, Order};
use crate::runtime::Agent;
use crate::runtime::switchboard::Input;
use api::legacy::Reply;
use api::media::{Body, decode_of_agent};
use api::recordio::{self, Decoder};
use api::refusal::Refusal;
use api::v1::agent::call::{AttachContainerInput, attach_container_input};
use api::v1::agent::{Call, ProcessIo, process_io};
use api::validate;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use model::limits::CALL_BYTES_MAX;
use std::rc::Rc;

/// Records of a request, as they come.
struct Records {
    body: Incoming,
    decoder: Decoder,
}

impl Records {
    /// `None` at the request's end, or when it broke off.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let record = self.decoder.next_record().map_err(|why| Refusal::Bad(why.to_string()))?;
            if record.is_some() {
                return Ok(record);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// A request whose body is a stream. Only the first record is waited for before it is known what it is.
pub(super) async fn answer(agent: &Rc<Agent>, head: &Parts, body: Incoming) -> Answer {
    let mut records = Records { body, decoder: Decoder::new(CALL_BYTES_MAX) };
    let first = match records.next().await {
        Ok(first) => first.map(|record| recordio::encode(&record)).unwrap_or_default(),
        Err(why) => return body::refusal(&why),
    };
    match agent.with_facts(|facts| looks::answer(head, &first, facts)) {
        looks::Answer::Order(order) => match attach(agent, &order, &mut records, head).await {
            Ok(answer) => answer,
            Err(why) => body::refusal(&why),
        },
        other => route::looked(agent, other).await,
    }
}

async fn attach(
    agent: &Rc<Agent>,
    order: &Order,
    records: &mut Records,
    head: &Parts,
) -> Result<Answer, Refusal> {
    let attach = order.call.attach_container_input.as_ref().ok_or(Refusal::UnknownCall)?;
    let id = match attach.r#type() {
        attach_container_input::Type::ContainerId => attach.container_id.as_ref(),
        _ => None,
    };
    let expecting = "Expecting 'attach_container_input.type' to be CONTAINER_ID";
    let place = Place::of(id.ok_or_else(|| Refusal::Bad(expecting.to_owned()))?);
    let board = match containers::board(agent, &place).await {
        Ok(board) => board,
        Err(reply) => return Ok(body::reply(reply)),
    };
    let refused = || Refusal::Conflict("Multiple input connections are not allowed".to_owned());
    let input = board.take_input().ok_or_else(refused)?;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let sent = Body::of_request(header("content-type"), header("message-content-type"))?;
    let (Body::Single(encoding) | Body::Stream(encoding)) = sent;
    loop {
        let record = tokio::select! {
            record = records.next() => record?,
            () = board.until_over() => return Ok(body::empty(StatusCode::OK)),
        };
        let Some(record) = record else { return Ok(body::empty(StatusCode::OK)) };
        let call: Call = decode_of_agent(encoding, &record)?;
        validate::agent(&call)?;
        let message =
            checked(call.attach_container_input.as_ref()).map_err(|why| Refusal::Bad(why.to_owned()))?;
        tokio::select! {
            done = take(&input, message) => if let Err(reply) = done {
                return Ok(body::reply(reply));
            },
            () = board.until_over() => return Ok(body::empty(StatusCode::OK)),
        }
    }
}

/// What one record asks for.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Data(Bytes),
    Resize(Window),
    Nothing,
}

/// In Mesos' words.
fn checked(call: Option<&AttachContainerInput>) -> Result<Message, &'static str> {
    let call = call.ok_or("Expecting 'attach_container_input' to be present")?;
    if call.r#type() != attach_container_input::Type::ProcessIo {
        return Err("Expecting 'attach_container_input.type' to be 'PROCESS_IO'");
    }
    let message = call.process_io.as_ref();
    let message = message.ok_or("Expecting 'attach_container_input.process_io' to be present")?;
    message.r#type.ok_or("Expecting 'process_io.type' to be present")?;
    match message.r#type() {
        process_io::Type::Unknown => Err("'process_io.type' is unknown"),
        process_io::Type::Data => checked_data(message).map(Message::Data),
        process_io::Type::Control => checked_control(message),
    }
}

fn checked_data(message: &ProcessIo) -> Result<Bytes, &'static str> {
    let data = message.data.as_ref().ok_or("Expecting 'process_io.data' to be present")?;
    data.r#type.ok_or("Expecting 'process_io.data.type' to be present")?;
    if data.r#type() != process_io::data::Type::Stdin {
        return Err("Expecting 'process_io.data.type' to be 'STDIN'");
    }
    data.data.clone().ok_or("Expecting 'process_io.data.data' to be present")
}

fn checked_control(message: &ProcessIo) -> Result<Message, &'static str> {
    let control = message.control.as_ref().ok_or("Expecting 'process_io.control' to be present")?;
    control.r#type.ok_or("Expecting 'process_io.control.type' to be present")?;
    match control.r#type() {
        process_io::control::Type::Unknown => Err("'process_io.control.type' is unknown"),
        process_io::control::Type::Heartbeat => {
            control.heartbeat.as_ref().ok_or("Expecting 'process_io.control.heartbeat' to be present")?;
            Ok(Message::Nothing)
        }
        process_io::control::Type::TtyInfo => {
            let info = control.tty_info.as_ref();
            let info = info.ok_or("Expecting 'process_io.control.tty_info' to be present")?;
            let size = info.window_size.ok_or("Expecting 'tty_info.window_size' to be present")?;
            Ok(Message::Resize(Window::of(size)))
        }
    }
}

async fn take(input: &Input, message: Message) -> Result<(), Reply> {
    match message {
        Message::Nothing => Ok(()),
        Message::Data(data) => input
            .write(&data)
            .await
            .map_err(|errno| Reply::text(500, format!("Failed writing to stdin: {}", errno.desc()))),
        Message::Resize(window) => match input.resize(window) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Reply::bad(&format!("Unable to set the window size: {error}"))),
            None => Err(Reply::bad("Unable to set the window size: the container has no terminal")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Message, &'static str> {
        let call = format!(r#"{{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{json}}}"#);
        let call: Call = api::json::from_slice(call.as_bytes()).expect("a call");
        checked(call.attach_container_input.as_ref())
    }

    #[test]
    fn each_field_that_is_missing_is_named() {
        let io = |text: &str| check(&format!(r#"{{"type":"PROCESS_IO","process_io":{text}}}"#));
        let control = |text: &str| io(&format!(r#"{{"type":"CONTROL","control":{text}}}"#));
        let data = |text: &str| io(&format!(r#"{{"type":"DATA","data":{text}}}"#));
        assert_eq!(check("{}"), Err("Expecting 'attach_container_input.type' to be 'PROCESS_IO'"));
        let missing = |field: &str| format!("Expecting '{field}' to be present");
        for (got, field) in [
            (check(r#"{"type":"PROCESS_IO"}"#), "attach_container_input.process_io"),
            (io("{}"), "process_io.type"),
            (io(r#"{"type":"DATA"}"#), "process_io.data"),
            (io(r#"{"type":"CONTROL"}"#), "process_io.control"),
            (data("{}"), "process_io.data.type"),
            (data(r#"{"type":"STDIN"}"#), "process_io.data.data"),
            (control("{}"), "process_io.control.type"),
            (control(r#"{"type":"TTY_INFO"}"#), "process_io.control.tty_info"),
            (control(r#"{"type":"TTY_INFO","tty_info":{}}"#), "tty_info.window_size"),
            (control(r#"{"type":"HEARTBEAT"}"#), "process_io.control.heartbeat"),
        ] {
            assert_eq!(got.map_err(str::to_owned), Err(missing(field)));
        }
        let other = data(r#"{"type":"STDOUT","data":"eA=="}"#);
        assert_eq!(other, Err("Expecting 'process_io.data.type' to be 'STDIN'"));
        assert_eq!(data(r#"{"type":"STDIN","data":"eA=="}"#), Ok(Message::Data("x".into())));
        let size = r#"{"type":"TTY_INFO","tty_info":{"window_size":{"rows":2,"columns":70000}}}"#;
        assert_eq!(control(size), Ok(Message::Resize(Window { rows: 2, columns: u16::MAX })));
    }
}
