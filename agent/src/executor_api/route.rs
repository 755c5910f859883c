//! Which request goes where: executors' calls to the node, everything else to those who only look (`crate::http`).

use crate::executor_api::body::{self, Answer};
use crate::executor_api::{call, containers};
use crate::http::files::Done;
use crate::http::{self as looks, is_of_executor};
use crate::runtime::Agent;
use api::legacy::Reply;
use api::refusal::Refusal;
use bytes::Bytes;
use http::request::Parts;
use std::rc::Rc;

pub(crate) async fn answer(agent: &Rc<Agent>, head: &Parts, body: &Bytes) -> Answer {
    if is_of_executor(head.uri.path()) {
        return call::executor(agent, &head.method, &head.headers, body).await;
    }
    let answer = agent.with_facts(|facts| looks::answer(head, body, facts));
    looked(agent, answer).await
}

/// What those who look have found, as an answer.
pub(super) async fn looked(agent: &Rc<Agent>, answer: looks::Answer) -> Answer {
    match answer {
        looks::Answer::Reply(reply) => body::reply(reply),
        looks::Answer::Order(order) => containers::answer(agent, *order).await,
        looks::Answer::Scrape(scrape) => {
            let written = tokio::task::spawn_blocking(move || scrape.write());
            body::reply(written.await.expect("writing a page does not panic"))
        }
        looks::Answer::Prune(excluded) => body::reply(match agent.prune_images(&excluded).await {
            Ok(()) => Reply::empty(),
            Err(why) => Reply::refused(&Refusal::Bad(why)),
        }),
        looks::Answer::File(job) => {
            match tokio::task::spawn_blocking(move || job.run())
                .await
                .expect("looking at files does not panic")
            {
                Done::Reply(reply) => body::reply(reply),
                Done::Download(file) => body::download(file),
            }
        }
    }
}
